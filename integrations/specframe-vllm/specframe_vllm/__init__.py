"""Dynamic draft vocabularies of specframe in vLLM, as a plugin that vLLM finds by itself."""
