"""llama.cpp's own tokenizer on a GGUF file, called in the shared library of the `xllamacpp` wheel.

Independent of the Rust code and of the Hugging Face libraries: it shares neither their code nor their tokenizer.json.
"""

import ctypes
import importlib.metadata
from pathlib import Path

import xllamacpp

# llama_model_params is returned and passed by value; its fields and size are llama.cpp's business, and a block that is
# larger than it is handed over unchanged by the System V calling convention (both are in memory, not in registers).
ROOM_FOR_PARAMS = 1024


class Params(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * ROOM_FOR_PARAMS)]


LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
QUIET = LOG_CALLBACK(lambda level, text, user: None)


class LlamaCppTokenizer:
    def __init__(self, gguf: Path) -> None:
        self.version = f"llama.cpp as in xllamacpp {importlib.metadata.version('xllamacpp')}"
        self.library = load()
        self.library.llama_log_set(QUIET, None)
        self.library.llama_backend_init()
        params = self.library.llama_model_default_params()
        self.model = self.library.llama_model_load_from_file(str(gguf).encode(), params)
        if not self.model:
            raise SystemExit(f"{gguf}: llama.cpp cannot load it")
        self.vocab = self.library.llama_model_get_vocab(self.model)

    def __len__(self) -> int:
        return self.library.llama_vocab_n_tokens(self.vocab)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`: nothing is added, and the spelling of a special token becomes its single id."""
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self.library.llama_tokenize(self.vocab, data, len(data), ids, room, False, True)
        if count < 0:
            raise SystemExit(f"llama_tokenize wants room for {-count} ids, {room} given")
        return list(ids[:count])

    def decode(self, ids: list[int]) -> bytes:
        """Bytes of `ids`, special tokens spelt out."""
        room = 64 * len(ids) + 64
        out = ctypes.create_string_buffer(room)
        array = (ctypes.c_int32 * len(ids))(*ids)
        count = self.library.llama_detokenize(self.vocab, array, len(ids), out, room, False, True)
        if count < 0:
            raise SystemExit(f"llama_detokenize wants room for {-count} bytes, {room} given")
        return out.raw[:count]


def load() -> ctypes.CDLL:
    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    pointer, i32, flag = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
    signatures = {
        "llama_log_set": (None, [LOG_CALLBACK, pointer]),
        "llama_backend_init": (None, []),
        "llama_model_default_params": (Params, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, Params]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_vocab_n_tokens": (i32, [pointer]),
        "llama_tokenize": (i32, [pointer, ctypes.c_char_p, i32, ctypes.POINTER(i32), i32, flag, flag]),
        "llama_detokenize": (i32, [pointer, ctypes.POINTER(i32), i32, ctypes.c_char_p, i32, flag, flag]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
