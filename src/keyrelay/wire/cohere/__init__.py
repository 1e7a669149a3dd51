"""Cohere's native dialect, on the provider's side: `/v2/chat`, `/v2/embed`.

    names       tools' names in the letters that Cohere allows, and back
    schemas     JSON schemas without the keywords that it refuses
    shapes      what requests and answers look like
    messages    the conversation as Cohere takes it
    provider    the codec
    reading     whole answers and vectors
    streaming   streamed answers

What the canonical form says and Cohere cannot:

    tool_choice with names                      only those tools are offered; one name with `required` is that tool
    tool_choice `required` without tools        `left_out`
    parallel                                    `left_out`
    tools.strict                                `strict_tools` if all tools are strict and require something, else
                                                `left_out`
    format with a schema, and tools             refused: Cohere takes one of both, and neither may be lost
    format without a schema, and tools          `left_out`
    format.description, tools.grammar           `left_out`
    custom tools                                functions with one string, `input`
    reasoning.effort                            `minimal`, `low` and `medium` are a budget of 512, 1,024 and 8,192
                                                tokens, more is thinking without one
    top_p, outside of 0.01 to 0.99              the nearest of both
    top_k, outside of 0 to 500; a negative seed `left_out`
    penalties, outside of 0 to 1                `left_out`; of two the presence penalty, since it takes one
    more than five stop sequences               the first five; `left_out` (`stop`)
    failed results, logprobs, cache, user,      `left_out`
    tier, cache_key
    documents                                   texts are texts, below their name; others are refused
    sound, pictures in results or in the words  refused
    of system
    pictures that the assistant made            in the user's turn after it
    several answers, lists of token numbers,    refused
    more than 96 texts in one request
    thoughts                                    beside calls they are the `tool_plan`, unless the model said something
                                                aloud, which then is; elsewhere they are dropped
    purpose of embeddings                       `input_type`; `search_document` where it is unsaid, and for words that
                                                are not Cohere's (then `left_out`)

What Cohere says and the canonical form cannot hold: citations, and parts of other kinds, which are named as left out;
billed units, log probabilities.
"""
