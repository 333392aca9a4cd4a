"""Prompts for interoperability runs: short and long, prose and code, several scripts, digits, odd spacing."""

PROMPTS = [
    "What is the capital of France?",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Explain in two sentences why the sky is blue.",
    "List five animals that live in the sea, one per line.",
    "Compute 17 + 25 and explain each step.",
    "Translate into Spanish: \"Where is the train station?\"",
    "Summarise the following in one sentence: Bees visit flowers to gather nectar. While they do, pollen sticks to their "
    "bodies and is carried to the next flower, which lets the plant make seeds. Without bees, many crops would fail.",
    "你好，请介绍一下北京。",
    "Écris un court poème sur l'été.",
    "What does this print?\n\n```python\nfor i in range(3):\n    print(i * '*')\n```",
    "Give me a recipe for pancakes with 2 eggs, 250 ml of milk and 125 g of flour.",
    "😀😃😄 What do these mean?",
    "Fix the grammar:   he go to   school yesterday  .",
    "Return a JSON object with the keys \"name\" and \"age\" for a person of your choice.",
    "Who wrote 'Pride and Prejudice', and in which year was it published?",
    "Write an email of three sentences that declines a meeting politely.",
    "What is the difference between a list and a tuple?",
    "Continue the story: The old lighthouse had been dark for eleven years, until one night",
    "مرحبا، كيف حالك اليوم؟",
    "ok",
]
