//! The tables of `docs/cutover.md` are those of the catalogue.

use std::fmt::Write as _;

use super::catalogue::{FAULTS, GATES, KINDS, STEPS};
use crate::stack::ComponentKind;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cutover.md");

fn for_kinds(kinds: &[ComponentKind]) -> String {
    if kinds.len() == KINDS.len() {
        return "all".to_owned();
    }
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

fn steps() -> String {
    let mut table = "| step | for | what is done | read back | undo |\n|---|---|---|---|---|\n".to_owned();
    for step in STEPS {
        let (kinds, undo) = (for_kinds(step.kinds), step.undo.unwrap_or("nothing to undo"));
        let _ =
            writeln!(table, "| `{}` | {kinds} | {} | {} | {undo} |", step.example, step.does, step.verify);
    }
    table
}

fn gates() -> String {
    let mut table = "| gate | for | what is so where it passes |\n|---|---|---|\n".to_owned();
    for gate in GATES {
        let _ = writeln!(table, "| `{}` | {} | {} |", gate.word, for_kinds(gate.kinds), gate.proves);
    }
    table
}

fn faults() -> String {
    let mut table = "| fault | for | what is broken | what it finds |\n|---|---|---|---|\n".to_owned();
    for fault in FAULTS {
        let kinds = for_kinds(fault.kinds);
        let _ = writeln!(table, "| `{}` | {kinds} | {} | {} |", fault.word, fault.does, fault.finds);
    }
    table
}

/// The page with the table between its two marks.
fn with(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n\n"), format!("\n<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PAGE} has no {end}"));
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_tables_of_the_page_are_those_of_the_catalogue() {
    let there = std::fs::read_to_string(PAGE).unwrap();
    let mut now = there.clone();
    for (name, table) in [("steps", steps()), ("gates", gates()), ("faults", faults())] {
        now = with(&now, name, &table);
    }
    if std::env::var_os("ENVCTL_BLESS").is_some() {
        std::fs::write(PAGE, &now).unwrap();
        return;
    }
    assert!(there == now, "docs/cutover.md is out of date: run the tests once with ENVCTL_BLESS=1");
}
