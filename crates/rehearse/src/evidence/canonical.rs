//! One way to write a JSON value, so that equal values are equal bytes.

use serde_json::Value;

/// The value without white space, the keys of its objects sorted by code point. Nothing that is written here has a
/// number with a fraction, whose text would be a matter of taste.
pub(super) fn bytes(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_else_is() {
        let value = json!({"b": [{"d": 1, "c": "ü\n"}, 0], "a": null});
        assert_eq!(bytes(value), r#"{"a":null,"b":[{"c":"ü\n","d":1},0]}"#.as_bytes());
    }
}
