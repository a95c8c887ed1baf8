"""Where vLLM is listened to: a module per model runner, each of thin functions around vLLM's methods."""
