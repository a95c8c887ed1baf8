"""A decoder's forward as one OpenVINO graph; the package ``openvino`` is an extra."""
