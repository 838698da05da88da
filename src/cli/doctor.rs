//! `envctl doctor`

use crate::config::Base;
use crate::flows::doctor::{Finding, Verdict, examine};
use crate::ui::{Failure, Format, print, print_json, table};

pub(super) async fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let findings = examine(base).await?;
    if format == Format::Json {
        print_json(&findings)?;
    } else {
        show(&findings);
    }
    let problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    if problems == 0 { Ok(()) } else { Err(Failure::Reported) }
}

fn show(findings: &[Finding]) {
    let rows = findings.iter().map(|finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        };
        vec![finding.what.clone(), verdict.to_owned(), finding.found.clone()]
    });
    print(&table(&["WHAT", "", "FOUND"], rows));
    let mends: Vec<_> =
        findings.iter().filter_map(|finding| Some((&finding.what, finding.mend.as_ref()?))).collect();
    if mends.is_empty() {
        return;
    }
    print("\nwhat mends it:");
    for (what, mend) in mends {
        print(&format!("  {what}: {mend}"));
    }
}
