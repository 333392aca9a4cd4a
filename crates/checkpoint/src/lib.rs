//! PUBLIC: Hugging Face folders, safetensors and GGUF: headers, positioned reads, streaming writes.
