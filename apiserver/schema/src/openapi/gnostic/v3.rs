//! The messages of `openapi.v3`.

use super::Form::{Any, Default, Each, Flag, In, Named, Number, Of, OrFlag, Referred, Text, Whole};
use super::{Form, Message};

/// A whole document.
pub(crate) static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, Text),
        ("info", 2, Of(&INFO)),
        ("paths", 4, Named(1, &Of(&PATH_ITEM))),
        ("components", 5, Of(&COMPONENTS)),
    ],
    extensions: 9,
};

static INFO: Message = Message { fields: &[("title", 1, Text), ("version", 6, Text)], extensions: 7 };

static COMPONENTS: Message = Message { fields: &[("schemas", 1, Named(1, &SCHEMA))], extensions: 10 };

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 4, Of(&OPERATION)),
        ("put", 5, Of(&OPERATION)),
        ("post", 6, Of(&OPERATION)),
        ("delete", 7, Of(&OPERATION)),
        ("options", 8, Of(&OPERATION)),
        ("head", 9, Of(&OPERATION)),
        ("patch", 10, Of(&OPERATION)),
        ("parameters", 13, Each(&In(1, &Of(&PARAMETER)))),
    ],
    extensions: 14,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Each(&Text)),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Each(&In(1, &Of(&PARAMETER)))),
        ("requestBody", 7, In(1, &Of(&REQUEST_BODY))),
        ("responses", 8, Named(2, &In(1, &Of(&RESPONSE)))),
        ("deprecated", 10, Flag),
    ],
    extensions: 13,
};

static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Flag),
        ("schema", 10, Referred(&Of(&BARE_SCHEMA))),
    ],
    extensions: 14,
};

static REQUEST_BODY: Message = Message {
    fields: &[("description", 1, Text), ("content", 2, Named(1, &Of(&MEDIA_TYPE))), ("required", 3, Flag)],
    extensions: 4,
};

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("content", 3, Named(1, &Of(&MEDIA_TYPE)))], extensions: 5 };

static MEDIA_TYPE: Message = Message { fields: &[("schema", 1, Referred(&Of(&BARE_SCHEMA)))], extensions: 5 };

/// A schema or a reference to one.
static SCHEMA: Form = Referred(&Of(&BARE_SCHEMA));

static BARE_SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, Flag),
        ("example", 7, Any),
        ("deprecated", 8, Flag),
        ("title", 9, Text),
        ("multipleOf", 10, Number),
        ("maximum", 11, Number),
        ("exclusiveMaximum", 12, Flag),
        ("minimum", 13, Number),
        ("exclusiveMinimum", 14, Flag),
        ("maxLength", 15, Whole),
        ("minLength", 16, Whole),
        ("pattern", 17, Text),
        ("maxItems", 18, Whole),
        ("minItems", 19, Whole),
        ("uniqueItems", 20, Flag),
        ("maxProperties", 21, Whole),
        ("minProperties", 22, Whole),
        ("required", 23, Each(&Text)),
        ("enum", 24, Each(&Any)),
        ("type", 25, Text),
        ("allOf", 26, Each(&SCHEMA)),
        ("oneOf", 27, Each(&SCHEMA)),
        ("anyOf", 28, Each(&SCHEMA)),
        ("not", 29, Of(&BARE_SCHEMA)),
        ("items", 30, In(1, &SCHEMA)),
        ("properties", 31, Named(1, &SCHEMA)),
        ("additionalProperties", 32, OrFlag(&SCHEMA)),
        ("default", 33, Default),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: 36,
};
