//! A rehearsal as one HTML file: nothing is fetched, nothing runs, and colour says nothing that text does not say.

mod axis;
mod figures;
mod ledger;
mod page;
mod timeline;
mod tracks;
mod words;

use envctl_model::cutover::CutoverPlan;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior};

use crate::Recording;
use crate::director::Judged;
use crate::evidence::Rehearsal;

/// The name's end has minijinja escape everything that is put in.
const TEMPLATE: (&str, &str) = ("report.html", include_str!("../../../../templates/report/report.html"));

const STYLE: &str = include_str!("../../../../templates/report/report.css");

/// All that the report is drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// What was to be done.
    pub plan: &'a CutoverPlan,
    /// What was seen.
    pub recording: &'a Recording,
    /// What the gates said, in the order in which they were asked.
    pub judged: &'a [Judged],
    /// What the evidence says.
    pub facts: &'a Rehearsal,
}

/// A report that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be drawn: {0:#}")]
pub struct ReportError(#[from] minijinja::Error);

impl Run<'_> {
    /// The HTML file.
    ///
    /// # Errors
    /// When the template asks for something that there is not.
    pub fn html(&self) -> Result<String, ReportError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_template(TEMPLATE.0, TEMPLATE.1)?;
        let template = environment.get_template(TEMPLATE.0)?;
        let style = Value::from_safe_string(STYLE.to_owned());
        let page = Value::from(Serde(page::Page::of(self)));
        Ok(template.render(minijinja::context! { style, page })?)
    }
}
