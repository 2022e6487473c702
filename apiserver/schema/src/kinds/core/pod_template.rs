//! PodTemplate.

use crate::defaults::workload as fill;
use crate::kinds::{Row, Rules};
use crate::path::Path;
use crate::table::text::{labels, name};
use crate::table::workload::names_and_images;
use crate::table::{Column, NAME, Printer};
use crate::validate::pod;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        defaults: fill::template,
        validate: |change, errors| {
            let path = Path::Root.field("template");
            pod::template(&change.new["template"], &serde_json::Value::Null, &[], &path, errors);
        },
        printer: &PRINTER,
        generation: true,
        returns_deleted: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "PodTemplate"], ["podtemplates", "podtemplate"], "io.k8s.api.core.v1.PodTemplate")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Containers", "Names of the containers in the pods."),
        Column::text("Images", "Images of the containers in the pods."),
        Column::text("Pod Labels", "Labels of the pods."),
    ],
    cells: |it, _| {
        let template = &it["template"];
        let [names, images] = names_and_images(template);
        vec![name(it), names, images, labels(&template["metadata"], "labels").into()]
    },
};
