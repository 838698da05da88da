//! `$(VAR)` in commands, arguments, values and sub paths.

/// Expands as the kubelet does: `$(NAME)` becomes the variable's value, `$$` becomes `$`, and what
/// names no variable stays as it is written.
pub(crate) fn expand<'v>(text: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(unescaped) = after.strip_prefix('$') {
            expanded.push('$');
            rest = unescaped;
        } else if let Some((name, behind)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = behind;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

/// The first variable in `$(NAME)` that does not exist.
pub(crate) fn unresolved<'t, 'v>(text: &'t str, lookup: impl Fn(&str) -> Option<&'v str>) -> Option<&'t str> {
    text.split("$(")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .find(|name| lookup(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_is_the_kubelets() {
        let lookup = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            _ => None,
        };
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("é$(A)é", "é1é"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
        assert_eq!(unresolved("$(A)/$(C)", lookup), Some("C"));
    }
}
