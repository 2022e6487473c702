//! The messages of `openapi.v2`.

use super::Form::{Any, Each, Flag, In, Named, Number, Of, OrFlag, Text, Whole};
use super::Message;

/// A whole document.
pub(crate) static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, Of(&INFO)),
        ("paths", 8, Named(2, &Of(&PATH_ITEM))),
        ("definitions", 9, Named(1, &Of(&SCHEMA))),
    ],
    extensions: 16,
};

static INFO: Message = Message { fields: &[("title", 1, Text), ("version", 2, Text)], extensions: 7 };

static PATH_ITEM: Message = Message { fields: &[("patch", 8, Of(&OPERATION))], extensions: 10 };

static OPERATION: Message = Message {
    fields: &[
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("consumes", 7, Each(&Text)),
        // Parameters of ours are all in the query.
        ("parameters", 8, Each(&In(1, &In(2, &In(3, &Of(&QUERY)))))),
        ("responses", 9, Named(1, &In(1, &Of(&RESPONSE)))),
    ],
    extensions: 13,
};

static QUERY: Message = Message {
    fields: &[("in", 2, Text), ("description", 3, Text), ("name", 4, Text), ("type", 6, Text)],
    extensions: 23,
};

static RESPONSE: Message = Message { fields: &[("description", 1, Text)], extensions: 5 };

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Number),
        ("maximum", 7, Number),
        ("exclusiveMaximum", 8, Flag),
        ("minimum", 9, Number),
        ("exclusiveMinimum", 10, Flag),
        ("maxLength", 11, Whole),
        ("minLength", 12, Whole),
        ("pattern", 13, Text),
        ("maxItems", 14, Whole),
        ("minItems", 15, Whole),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Whole),
        ("minProperties", 18, Whole),
        ("required", 19, Each(&Text)),
        ("enum", 20, Each(&Any)),
        ("additionalProperties", 21, OrFlag(&Of(&SCHEMA))),
        ("type", 22, In(1, &Each(&Text))),
        ("items", 23, In(1, &Of(&SCHEMA))),
        ("allOf", 24, Each(&Of(&SCHEMA))),
        ("properties", 25, Named(1, &Of(&SCHEMA))),
        ("example", 30, Any),
    ],
    extensions: 31,
};
