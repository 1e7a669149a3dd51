"""The Gemini dialect: `generateContent`, `streamGenerateContent`, `embedContent`, `batchEmbedContents`.

What a caller says and the canonical form cannot hold is named in `Conversation.left_out`:

    safetySettings, labels, cachedContent, continuationToken, toolConfig.retrievalConfig …
    tools[1]: googleSearch                        every tool that runs at Google's
    contents[0].parts[1]: executableCode          code, its results, calls of such tools
    generationConfig.speechConfig                 and other settings of sound and pictures

What a Gemini model cannot be told is named in `Written.left_out` when it is a preference:

    cache, detail, user, cache_key, logprobs, tools.strict, tools.grammar, tool_choice.parallel,
    stop beyond five, a tier other than standard, flex and priority, an effort that the model does not know

and is an `UntranslatableError` when it is content:

    more than one answer                          the canonical form holds one
    a file by identifier                          identifiers are another provider's
    a picture or file by `http:`                  Google fetches `https:`, `gs:` and its own files only
    JSON wanted together with tools               models before Gemini 3 refuse the two together
    arguments of a call that are no JSON object   unless the tool takes free text: `{"input": text}`
    a result of a call that is nowhere            Gemini wants its function's name

System messages are joined into the one system instruction, wherever they stood; neighbours of one role become one turn,
results first. Efforts, budgets and levels of thinking follow the table in `models`.

Pictures, sound and files in an answer are what they are; code that Google ran, and what came of it, are blocks of code
in the text, and named. Named as left out are calls of Google's own tools, sketches in thoughts, `citationMetadata`,
`groundingMetadata` and `urlContextMetadata`. A caller is told what its answer lacks in the last `finishMessage`.

A call whose arguments are no JSON object is not given to a caller; the answer then ends as MALFORMED_FUNCTION_CALL.
Refusals are words. Thoughts are shown to callers that said `includeThoughts`, signatures always.

Thoughts go back only with a signature of Gemini's own. A signature on a text part is, in the canonical form, a
`Thinking` part without text that follows it. Gemini 3 refuses a history in which the first call of a turn has no
signature; where a call comes from another provider, Google's own placeholder stands in
(https://ai.google.dev/gemini-api/docs/thought-signatures).
"""
