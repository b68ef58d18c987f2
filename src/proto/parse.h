/* What every parser of this folder answers. A parser is given all bytes that are there so far, from the first one on,
 * and may be asked again whenever there are more: it keeps nothing between two calls. */
#pragma once

enum parse_outcome {
    PARSE_MORE, /* so far, so good: ask again with more bytes */
    PARSE_DONE,
    PARSE_BAD, /* no bytes that could follow would make it right */
};
