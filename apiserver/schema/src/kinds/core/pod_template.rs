//! PodTemplate.

use crate::defaults::workload as fill;
use crate::kinds::{Row, Rules};
use crate::path::Path;
use crate::table::text::{each, labels, name};
use crate::table::{Column, NAME, Printer};
use crate::validate::pod;
use crate::view::list;

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
        let containers = list(&template["spec"], "containers");
        vec![
            name(it),
            each(containers, "name"),
            each(containers, "image"),
            labels(&template["metadata"], "labels").into(),
        ]
    },
};
