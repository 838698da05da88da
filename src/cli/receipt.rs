//! `envctl receipt`

use envctl_model::receipt::End;

use crate::config::Base;
use crate::flows::{Store, locate};
use crate::ui::{Failure, Format, print, print_json, table};

pub(super) fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let name = locate::name(base)?;
    let store = Store::new(base.state_dir.value.clone());
    let Some(receipt) = store.receipt(&name)? else {
        return Err(Failure::Usage(format!("there is no receipt of `{name}`: `envctl down` writes it")));
    };
    if format == Format::Json {
        return print_json(&receipt);
    }
    print(&receipt.summary());
    print(&table(
        &["END", "KIND", "THING", "EVIDENCE"],
        receipt.items().map(|(end, item)| {
            let word = match end {
                End::Gone => "gone",
                End::Kept => "kept",
                End::Retained => "retained",
                End::Unverified => "unverified",
                End::Left => "left",
            };
            vec![word.to_owned(), item.kind.to_string(), item.id.clone(), item.evidence.clone()]
        }),
    ));
    Ok(())
}
