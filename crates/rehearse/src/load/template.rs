//! Text with places for a request's number and id.

/// Text with `{{ n }}` and `{{ id }}` in it.
#[derive(Debug, Clone)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Number,
    Id,
}

/// A text that is no template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("a placeholder has no end: `{{{{` without `}}}}`")]
    NoEnd,
    #[error("there is no placeholder `{0}`")]
    Unknown(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (word, after) = after.split_once("}}").ok_or(TemplateError::NoEnd)?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match word.trim() {
                "n" => Piece::Number,
                "id" => Piece::Id,
                other => return Err(TemplateError::Unknown(other.to_owned())),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub(super) fn render(&self, n: u64, id: &str) -> String {
        let number = n.to_string();
        let words = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Number => &number,
            Piece::Id => id,
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_number_and_id() {
        let template = Template::parse("/a/{{ n }}?id={{id}}&{x}").unwrap();
        assert_eq!(template.render(12, "ab-12"), "/a/12?id=ab-12&{x}");
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        assert_eq!(Template::parse("{{ m }}").unwrap_err(), TemplateError::Unknown("m".to_owned()));
        assert_eq!(
            Template::parse("a {{ n").unwrap_err().to_string(),
            "a placeholder has no end: `{{` without `}}`"
        );
    }
}
