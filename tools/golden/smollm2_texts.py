"""The texts and conversations of the SmolLM2 golden files, and the ids that others have published."""

DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "\t",
    "Hello",
    " Hello",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "0",
    "1234567890",
    "In 1969, 2 of 3 were 42.5% older; 1e-9 < 0x1F.",
    "  12  345   6",
    "½ ² Ⅷ ٣٤٥ १२३ 4️⃣",
    "I'm sure they've said we'll, you'd, it's, don't, you're.",
    "I'M SURE THEY'VE SAID WE'LL, YOU'D, IT'S, DON'T, YOU'RE.",
    "the ’80s: “curly quotes” – and—dashes…",
    "def f(x):\n    if x > 0:\n        return [y**2 for y in range(x)]\n\n    return None\n",
    "\tfor (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];\t// dot\n\t}\r\n",
    "SELECT * FROM `users` WHERE id != '1''; --' AND name LIKE \"%a_b%\";",
    "<div class=\"a b\">&nbsp;<!-- x --></div>",
    "https://example.org/path/to?q=a%20b&n=10#frag",
    "CamelCaseHTTPServer snake_case_name kebab-case-name",
    "!!! ??? ... ;;; ,,, ((())) [[[]]] {{{}}} <<<>>> @#$%^&*~`|\\/",
    "a  b   c    d     e      f",
    "trailing spaces   ",
    "   leading spaces",
    " " * 100,
    "x" + " " * 33 + "y" + "\t" * 7 + "z",
    "line one\nline two\n\nline four\n\n\n\nline eight\n",
    "mixed \n \n\t \r\n  whitespace \u00a0\u2003\u3000 end",
    "café naïve Zoë Ångström coöperate façade",
    "cafe\u0301 nai\u0308ve (combining marks)",
    "Größenmaßstäbe, Straße, żółć, Đặng, Čeština",
    "Привет, как дела? Ещё раз.",
    "Γειά σου Κόσμε",
    "你好，世界！今天天气很好。",
    "こんにちは、世界。カタカナとひらがな",
    "안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك؟",
    "שלום עולם",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "😀 👍🏽 👩‍👩‍👧‍👦 🇫🇷 ❤️",
    "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛 \U00020000",
    "zero\u200bwidth\u200djoin \ufeffbom \u2028line\u2029paragraph",
    "\u0000\u0001\u0007\u001b[31mred\u001b[0m\u007f\u0085",
    "replacement \ufffd and private \ue000 and last \U0010ffff",
    "<|im_start|>user\nHi<|im_end|>\n",
    "a<|endoftext|>b <|im_end|> c<|im_start|>",
    "<|im_start|><|im_start|><|im_end|>",
    "<|im_start> <|im_end <im_start|> <|IM_START|> < |im_end|>",
    "<repo_name>x/y<file_sep>main.py\n<jupyter_code>1+1<jupyter_output>2<empty_output>",
    "x <|im_end|>   y",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "{\"key\": [1, 2.50, -3e10, true, null], \"s\": \"\\u00e9\\n\"}",
]

CONVERSATIONS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "system", "content": "Answer in one short sentence."},
        {"role": "user", "content": "How many legs do 3 spiders have?"},
    ],
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! How can I help you today?"},
        {"role": "user", "content": "Write a haiku about the ocean.\n"},
        {"role": "assistant", "content": "Waves kiss the grey shore,\nfoam sighs and returns to blue,\nthe moon pulls again."},
        {"role": "user", "content": "  Now in Python:\n```python\nprint('...')\n```"},
    ],
    [
        {"role": "system", "content": "Réponds en français ; sois bref."},
        {"role": "user", "content": "你好！ 😀 مرحبا <|im_end|> 123\u00a0€ \"quotes\" & <b>"},
    ],
]

ZEPP = "Ian Zepp, tokenizer_test.rs (public Rust test): probes of SmolLM2-360M-Instruct-Q4_K_M.gguf"
RADXA = "github.com/radxa-docs/docs, docs/aicore/ax-m1/LLM/smolLM2-360m.md: transformers 4.53.3 and SmolLM2-360M-Instruct"


def chat(message: str) -> str:
    turns = [("system", DEFAULT_SYSTEM), ("user", message)]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


SYSTEM = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
          198]
PUBLISHED = [
    {"text": "Hello world", "ids": [19556, 905], "source": ZEPP},
    {"text": "  leading spaces", "ids": [216, 2899, 5600], "source": ZEPP},
    {"text": "The quick brown fox jumps over the lazy dog",
     "ids": [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767], "source": ZEPP},
    {"text": "Write a haiku about the ocean.\n", "ids": [19161, 253, 421, 30614, 563, 260, 5065, 30, 198],
     "source": ZEPP},
    {"text": chat("hello world"), "ids": [*SYSTEM, 1, 4093, 198, 28120, 905, 2, 198, 1, 520, 9531, 198],
     "source": RADXA},
]
