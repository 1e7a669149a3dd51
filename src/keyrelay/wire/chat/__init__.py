"""OpenAI's dialect on both sides: `caller.OpenAICaller` and `provider.OpenAIProvider`.

What becomes of what does not fit:

| what | where it goes |
|---|---|
| a caller's `developer` message | a system message |
| a caller's `tool` and `function` messages | results of tools in the user's turn, before what else it says |
| members of a caller's body that are not known, and that may change the answer | named as left out |
| tools, choices of tools and response formats of other kinds | named as left out |
| parts of a message of other kinds (`video_url`) | refused with 400 |
| several prompts, or tokens for a prompt, in a legacy completion | refused with 400 |
| a prompt's `suffix` | a question for what belongs between |
| thoughts and calls in the answer to a legacy completion | left out |
| an answer with more than one call, for a caller of `functions` | the first one; it is asked for one at a time |
| more than one answer (`n`) to a provider | cannot be translated |
| pictures and documents in a tool's result, to a provider | in the user's message after the results |
| that a result is one of a failure | left out |
| a document's address to a provider | cannot be translated |
| custom tools to a provider that is not OpenAI | a function with one string, `input`; its grammar is left out |
| a choice among several tools to a provider that is not OpenAI | the other tools are not sent |
| thoughts to a provider | where it is known to take them back (`habits`), left out in silence elsewhere |
| signatures to a provider | Gemini's at Gemini; OpenRouter's and those of a model's own maker at OpenRouter |
| a call that Gemini did not sign, to a model of its own that insists | Google's placeholder for a signature |
| a system message in the middle, to Mistral | a user's message |
| a refusal in the history, to a provider that is not OpenAI | words |
| ids of calls that a provider does not take | a digest, the same for a call and its result |
| cache marks, `top_k`, to a provider not known to take them | left out |
| log probabilities | not asked for, since a translated answer has no place for them |
| a budget for thinking to a provider | the effort that stands for it |
| the Responses dialect's `input` at chat completions, as Cursor sends it | understood, and answered as a chat |
| calls of such a caller's custom tools | functions whose arguments are the free text |
| pictures, sound in an answer to a caller | `images` with `data:` URLs, as OpenRouter has them; `audio` |
| `images`, pictures in the content, `audio` of a provider's answer | pictures, sound; its transcript is words |
| `annotations`, `executed_tools`, `citations`, `search_results` in an answer | named as left out |
| other parts of an answer's content | named as left out |
| pictures that the assistant made, in the history | in the user's message after them |
| thoughts in the words of models known for it (`<think>`) | thoughts, unless the answer passes as it is |
| what a provider's quirks drop | left out; cannot be translated if it is messages, tools or a response format |
"""
