//! The records that an exeat has written to a file.

use std::path::Path;

use serde_json::Value;

/// Those that are complete, in the order in which their flows began: which of two ends first is often a matter of luck.
pub fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut records: Vec<Value> = complete.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(|record| record["flow"].as_str().map(str::to_owned));
    records
}
