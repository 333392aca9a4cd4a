//! OWNER: tokenizer and chat template in front, cipher ids behind.
