//! The server's warnings: the metadata entries `warning-bin` of an answer, one sentence each.

use tonic::metadata::MetadataMap;

/// Prints each warning on a line of standard error, in kubectl's words.
pub(crate) fn print_warnings(metadata: &MetadataMap) {
    for warning in warnings(metadata) {
        crate::out::complain!("Warning: {warning}");
    }
}

fn warnings(metadata: &MetadataMap) -> Vec<String> {
    let entries = metadata.get_all_bin("warning-bin").into_iter().filter_map(|entry| entry.to_bytes().ok());
    entries.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    #[test]
    fn every_warning_is_a_line() {
        let mut metadata = MetadataMap::new();
        for text in ["one", "zwölf"] {
            metadata.append_bin("warning-bin", MetadataValue::from_bytes(text.as_bytes()));
        }
        assert_eq!(warnings(&metadata), ["one", "zwölf"]);
    }
}
