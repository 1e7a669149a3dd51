"""Ollama's native dialect, on both sides: `/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`.

Answers are one JSON object, or lines of JSON (NDJSON), and stream unless the caller says otherwise.

    lines       cutting a stream into lines
    shapes      what requests and answers look like
    asking      a caller's request in the canonical form
    answering   answers and streamed lines for a caller
    caller      the codec of callers, once for chat and once for generate
    models      what clients ask about models, and the answer to a request that only loads one
    provider    the codec of providers, over /api/chat and /api/embed
    reading     their answers and streams

What a caller says and the canonical form cannot hold:

    options.num_ctx, repeat_penalty, min_p,     named in `left_out`; those that only say how a model is loaded
    mirostat and their like, raw, template      (num_gpu, num_thread …) and keep_alive change no answer and are ignored
    suffix, context                             refused: without them another question would be answered
    a call without id                           gets one made of its place in the conversation and its name
    a result without id                         belongs to the first open call of its tool, or of any if it names none
    logprobs, top_logprobs                      held, but no answer carries them

In an answer to a caller a note in the text stands for a picture, a sound or a file: there would be a place for
pictures, but Ollama's own clients refuse an answer with them. Pictures of a provider's answer are pictures. A name of a
model means the same with the tag `latest` and without it.

What the canonical form says and Ollama cannot:

    tool_choice `none`, names                   the tools that may not be called are not offered
    tool_choice `required`, parallel            `left_out`: nothing can be forced
    reasoning.budget_tokens, effort             a bound turns thinking on, `minimal` is `low`, `xhigh` is `high`
    custom tools                                functions with one string, `input`
    failed results, picture details, logprobs,  `left_out` (`failed`, `detail`, `logprobs`)
    strict, grammar, format.description, purpose, cache, user, tier, cache_key
    documents                                   texts are texts, below their name; others are refused
    pictures by URL, sound,                     refused
    several answers, lists of token numbers
    thoughts                                    their text goes along; signatures and redacted thoughts do not
    parts of one turn                           texts are joined by an empty line, pictures stand beside them
"""
