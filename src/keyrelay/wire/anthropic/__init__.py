"""Anthropic's Messages dialect, on the side of callers (`caller`) and of providers (`provider`).

What a caller says and the canonical form cannot hold is named in `Conversation.left_out`, in the caller's words:

    tools that Anthropic runs, or whose schema only it knows    `tools[2]: web_search_20250305`
    blocks of such tools, and blocks nobody knows               `messages[3].content[1]: server_tool_use`
    citations and context of a document, marks on a call        `messages[0].content[0].citations`
    members of a body that nobody here knows                    `context_management`, `mcp_servers`

An image from Anthropic's files becomes a document with that file's id, so that no dialect loses it in silence. Search
results, references to tools and summaries of compacted turns become text.

What this dialect cannot say is named in `Written.left_out`, in the words of the canonical form, if it is a preference:

    seed, presence_penalty, frequency_penalty, logprobs, top_logprobs, cache_key, detail
    temperature            above 1 it is set to 1; with thinking only 1 is taken
    top_p                  beside temperature (new models take one of the two); with thinking below 0.95
    top_k                  with thinking
    temperature, top_p,    to Claude 4.7 and later, which refuse them
    top_k
    tier                   but `auto`, and `default`, which is `standard_only`
    stop                   sequences of white space
    format                 JSON without a schema is asked for in words, which nobody enforces
    format.description     goes with the schema's name, which means nothing to the model
    tools.grammar          stands in the tool's description, which nobody enforces
    reasoning              thinking beside a tool that must be called, with a budget that does not fit into `max_tokens`
                           (at least 1,024 below it), or after calls that were made without signed thoughts; to
                           models before 3.7. What later ones take in its place stands in `models`

Of an answer, blocks of tools that Anthropic runs, of other kinds, and `citations` are named as left out. A caller is
given a note in the text for a picture, a sound or a file, since the assistant of this dialect has words alone.

Content raises `UntranslatableError`: sound; pictures but JPEG, PNG, GIF, WebP; files but PDF and text; arguments that
are no JSON object; a schema that is none; tools that must be called and are not there; more than one answer. Pictures
and files that the assistant made stand in the user's turn after it. Thoughts that this dialect did not sign, and blank
texts (it refuses both), go in silence.

Callers see thoughts only when they turned thinking on (`thinking` is not `disabled`, its `display` not `omitted`), as
they would at Anthropic; those that it did not sign have an empty signature. Who waits for the end of thoughts that it
does not see is sent a `ping` now and then.

What Anthropic insists on is made up: `max_tokens` (the model's own most, else 4,096), results before all else in a
turn, no white space at the end of a beginning that the model is to continue, tools where calls were made before, a
user's turn where there are only instructions. All instructions stand before the conversation, because older models
take none in it.

Custom tools are lowered to functions with one string, `input` (`parts.lowered_tool`). Nothing in an answer tells such a
call from any other: the caller's side raises it again, since it knows what was asked for (`parts.RaisedCalls`).
"""
