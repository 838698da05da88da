//! An error in a file the user wrote: what, where, and what to do.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// An error that points at a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// The file as the user would name it.
    pub file: String,
    /// The whole text of the file.
    pub source: String,
    /// Bytes of `source` the caret underlines.
    pub span: std::ops::Range<usize>,
    /// Words at the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The text as shown to the user, with the line and a caret below it.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let end = self.source.len();
        let start = self.span.start.min(end);
        let span = start..self.span.end.clamp(start, end);
        let snippet = Snippet::source(&self.source)
            .path(&self.file)
            .annotation(AnnotationKind::Primary.span(span).label(&self.label));
        let mut group = Level::ERROR.primary_title(&self.message).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}
