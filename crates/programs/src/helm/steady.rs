//! What a chart draws at random keeps its former value.
//!
//! Two renders of the same chart with the same inputs differ exactly where something random (or
//! the time) went in. There, and only there, the former render's value is carried over; all else
//! is as the chart now says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Carries former values over into `now`, where `again`, rendered from the same inputs, differs
/// from it. The order stays that of `now`.
#[must_use]
pub fn carry(former: &[Value], now: Vec<Value>, again: &[Value]) -> Vec<Value> {
    let same_chart = now.len() == again.len();
    let pairs: Vec<Option<&Value>> = now
        .iter()
        .enumerate()
        .map(|(at, object)| {
            let by_name = again.iter().find(|other| identity(other) == identity(object));
            // A random name: Helm's order is the same in both renders.
            by_name.or_else(|| again.get(at).filter(|other| same_chart && kind(other) == kind(object)))
        })
        .collect();
    // Former objects whose names were random: what this render has no name for.
    let mut left_over: Vec<&Value> =
        former.iter().filter(|object| !now.iter().any(|other| identity(other) == identity(object))).collect();
    let formers: Vec<Option<&Value>> = now
        .iter()
        .zip(&pairs)
        .map(|(object, pair)| {
            let by_name = former.iter().find(|other| identity(other) == identity(object));
            let random_name = pair.is_some_and(|pair| identity(pair) != identity(object));
            by_name.or_else(|| {
                let at = left_over.iter().position(|other| random_name && kind(other) == kind(object))?;
                Some(left_over.remove(at))
            })
        })
        .collect();
    now.iter()
        .zip(pairs)
        .zip(formers)
        .map(|((object, pair), former)| match (pair, former) {
            (Some(pair), Some(former)) => value(former, object, pair),
            _ => object.clone(),
        })
        .collect()
}

fn kind(object: &Value) -> (&str, Option<&str>) {
    let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
    (group.map_or("", |(group, _)| group), object["kind"].as_str())
}

fn identity(object: &Value) -> ((&str, Option<&str>), &Value, &Value) {
    let metadata = &object["metadata"];
    (kind(object), &metadata["namespace"], &metadata["name"])
}

fn value(former: &Value, now: &Value, again: &Value) -> Value {
    if now == again {
        return now.clone();
    }
    match (former, now, again) {
        (Value::Object(former), Value::Object(now), Value::Object(again)) => now
            .iter()
            .map(|(key, now)| {
                let carried = match (former.get(key), again.get(key)) {
                    (Some(former), Some(again)) => value(former, now, again),
                    _ => now.clone(),
                };
                (key.clone(), carried)
            })
            .collect(),
        (Value::Array(former), Value::Array(now), Value::Array(again))
            if former.len() == now.len() && now.len() == again.len() =>
        {
            now.iter()
                .zip(former)
                .zip(again)
                .map(|((now, former), again)| value(former, now, again))
                .collect()
        }
        (Value::String(former), Value::String(now), Value::String(again)) => {
            Value::String(text(former, now, again))
        }
        // A number drawn, or a list as long as chance would have it: the former one, if it is one.
        _ if std::mem::discriminant(former) == std::mem::discriminant(now) => former.clone(),
        _ => now.clone(),
    }
}

/// A text of several lines may be a file in which one line is random and another was just changed.
fn text(former: &str, now: &str, again: &str) -> String {
    if let (Some(former), Some(now), Some(again)) = (decoded(former), decoded(now), decoded(again))
        && now.contains('\n')
    {
        return STANDARD.encode(lines(&former, &now, &again));
    }
    lines(former, now, again)
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

fn lines(former: &str, now: &str, again: &str) -> String {
    let (now_lines, again_lines): (Vec<&str>, Vec<&str>) =
        (now.split('\n').collect(), again.split('\n').collect());
    let random = now_lines.iter().zip(&again_lines).filter(|(now, again)| now != again).count();
    // Keys and certificates are random throughout: a mixture of two would be neither.
    let is_file =
        now_lines.len() == again_lines.len() && random * 2 < now_lines.len() && !now.contains("-----BEGIN ");
    if !is_file {
        return former.to_owned();
    }
    let former_lines: Vec<&str> = former.split('\n').collect();
    let carried = now_lines.iter().zip(&again_lines).enumerate().map(|(at, (now, again))| {
        if now == again {
            return *now;
        }
        let start = named(now, again);
        let same_place = former_lines.get(at).filter(|line| line.starts_with(start));
        let same_name = || former_lines.iter().find(|line| !start.is_empty() && line.starts_with(start));
        same_place.or_else(same_name).unwrap_or(now)
    });
    carried.collect::<Vec<_>>().join("\n")
}

/// What both lines begin with, up to the last sign: `password=` of `password=a1` and of
/// `password=a2`, because chance may make the first letters equal.
fn named<'l>(now: &'l str, again: &str) -> &'l str {
    let differ = now.char_indices().zip(again.chars()).find(|((_, a), b)| a != b);
    let shared = differ.map_or(now, |((at, _), _)| &now[..at]);
    let end = shared.rfind(|c: char| !c.is_alphanumeric());
    end.map_or("", |at| &shared[..at + shared[at..].chars().next().map_or(0, char::len_utf8)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(name: &str, password: &str, plain: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"password": password, "plain": plain}})
    }

    #[test]
    fn only_what_is_random_is_carried() {
        let former = [secret("a", "old", "before")];
        let now = vec![secret("b", "x", "y"), secret("a", "new1", "after")];
        let again = [secret("b", "z", "y"), secret("a", "new2", "after")];
        let carried = carry(&former, now.clone(), &again);
        assert_eq!(carried, [now[0].clone(), secret("a", "old", "after")]);
    }

    #[test]
    fn random_names_are_carried_in_their_order() {
        let former = [secret("job-aaa", "1", "p"), secret("job-bbb", "2", "p"), secret("fixed", "3", "p")];
        let now = vec![secret("job-ccc", "4", "p"), secret("job-ddd", "5", "p"), secret("fixed", "3", "p")];
        let again = [secret("job-eee", "6", "p"), secret("job-fff", "7", "p"), secret("fixed", "3", "p")];
        assert_eq!(carry(&former, now, &again), former);
    }

    #[test]
    fn a_changed_line_beside_a_random_one_is_not_lost() {
        let file = |password: &str, level: &str| format!("[client]\npassword={password}\nlevel={level}\n");
        let former = format!("# a line that is gone\n{}", file("old", "info"));
        let (now, again) = (file("n1", "debug"), file("n2", "debug"));
        assert_eq!(lines(&former, &now, &again), file("old", "debug"));
        let encode = |text: &str| STANDARD.encode(text);
        let carried = text(&encode(&former), &encode(&now), &encode(&again));
        assert_eq!(carried, encode(&file("old", "debug")));
    }

    #[test]
    fn keys_are_carried_whole() {
        let key = |body: &str| format!("-----BEGIN KEY-----\nsame\nsame\n{body}\n-----END KEY-----\n");
        let former = "-----BEGIN KEY-----\nother\n-----END KEY-----\n";
        assert_eq!(lines(former, &key("a"), &key("b")), former);
    }
}
