//! What is shown of a difference.

/// Stands for what is not there.
pub(super) const ABSENT: &str = "absent";

/// The longest value that is shown whole, in characters.
const LONGEST: usize = 200;

/// How much is shown before the first character that differs.
const BEFORE: usize = 40;

/// Words in the name of what must not be shown.
const SECRET: [&str; 7] = ["authorization", "cookie", "token", "secret", "password", "apikey", "api-key"];

/// Both values, cut to what is around their first difference; or that they differ, where the place's name says that a
/// secret stands there.
pub(super) fn pair(place: &str, old: &str, new: &str) -> (String, String) {
    let last = place.rsplit(['/', ' ']).next().unwrap_or(place).to_ascii_lowercase();
    // The attributes of a cookie are shown; its value was never looked at.
    if !place.starts_with("header set-cookie ") && SECRET.iter().any(|word| last.contains(word)) {
        let hidden =
            |value: &str, word: &str| if value == ABSENT { ABSENT.to_owned() } else { word.to_owned() };
        return (hidden(old, "a value that is not shown"), hidden(new, "another value that is not shown"));
    }
    let common = old.chars().zip(new.chars()).take_while(|(one, other)| one == other).count();
    (around(old, common), around(new, common))
}

fn around(value: &str, common: usize) -> String {
    if value.chars().count() <= LONGEST {
        return value.to_owned();
    }
    let from = common.saturating_sub(BEFORE);
    let begin = (from > 0).then_some('…');
    let mut rest = value.chars().skip(from);
    let shown: String = begin.into_iter().chain(rest.by_ref().take(LONGEST)).collect();
    if rest.next().is_some() { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_values_the_part_that_differs_is_shown() {
        let long = |word: &str| format!("{}{word}{}", "a".repeat(1000), "b".repeat(1000));
        let (old, new) = pair("body /text", &long("sea"), &long("lake"));
        assert!(old.starts_with("…aaa") && old.contains("aseab") && old.ends_with("b…"), "{old}");
        assert!(new.contains("alakeb") && new.chars().count() == LONGEST + 2, "{new}");
    }

    #[test]
    fn what_is_secret_by_its_name_is_not_shown() {
        for place in
            ["header authorization", "body /user/accessToken", "body /0/password", "header x-api-key"]
        {
            let (old, new) = pair(place, "hunter2", "hunter3");
            assert!(!format!("{old}{new}").contains("hunter") && old != new, "{place}: {old} {new}");
        }
        assert_eq!(pair("body /token", "absent", "hunter2").0, "absent");
        assert_eq!(pair("body /tokens/0/name", "a", "b"), ("a".to_owned(), "b".to_owned()));
    }
}
