//! Lines of an audit file, those that are no records among them.

use super::*;

#[test]
fn lines_that_are_no_records_are_told() {
    let good = SEEN.line();
    let opened = good.replace("exeat.flow/v1", "exeat.flow.opened/v1");
    let long = format!("{}\n", "x".repeat(70_000));
    let input = [
        good.as_str(),
        "\n",
        &opened,
        "{\"schema\":\"exeat.flow/v2\"}\n",
        &good.replace("a.example.com", "a..example.com"),
        &good.replace("report_only", "reported"),
        &good.replace("exeat.flow/v1", "exeat.flow/v2"),
        &long,
        "\u{1b}[2J\n",
        &good.replace("2026-11-22T", ""),
        good.trim_end(),
    ]
    .concat();
    let mut told = Vec::new();
    each(Cursor::new(input), |number, line| {
        told.push(match line {
            Line::Flow(_) => format!("{number} flow"),
            Line::Opened => format!("{number} opened"),
            Line::Blank => format!("{number} blank"),
            Line::Bad(what) => format!("{number} {what}"),
        });
    })
    .unwrap();
    assert_eq!(
        told,
        [
            "1 flow",
            "2 blank",
            "3 opened",
            "4 it is no record of exeat: missing field `time` at line 1 column 26",
            "5 the host \"a..example.com\": the name has an empty label",
            "6 there is no reason \"reported\"",
            "7 its schema \"exeat.flow/v2\" is not exeat.flow/v1",
            "8 it is longer than 64 KiB, and no record is",
            "9 it is no record of exeat: expected value at line 1 column 1",
            "10 the time \"16:00:00.012Z\" is none",
            "11 flow",
        ]
    );
}
