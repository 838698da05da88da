//! Which headers of answers are compared, and how.

use std::collections::{BTreeMap, BTreeSet};

use http::header::{CONNECTION, CONTENT_LENGTH, ETAG, HeaderMap, SET_COOKIE};

use super::alike::Alike;

/// Not compared. The first are of a connection, not of an answer (RFC 9110, section 7.6.1); the others are of the
/// moment, of the machine, or of who asked.
const PASSED_OVER: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "age",
    "date",
    "server",
    "x-request-id",
];

/// Headers by their place: `header content-type`, or `header set-cookie sid` for each cookie.
type Told = BTreeMap<String, String>;

/// What is compared of these headers. The bodies are `identical` or not: if not, what follows from a body differs too.
pub(super) fn told(headers: &HeaderMap, identical: bool) -> Told {
    // A connection may have headers of its own, which it names.
    let of_connection: BTreeSet<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut told = Told::new();
    for name in headers.keys() {
        let follows = (name == CONTENT_LENGTH || name == ETAG) && !identical;
        if follows || PASSED_OVER.contains(&name.as_str()) || of_connection.contains(name.as_str()) {
            continue;
        }
        let values: Vec<String> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
            // A weak validator may change without the content (RFC 9110, section 8.8.1).
            .filter(|value| name != ETAG || !value.starts_with("W/"))
            .collect();
        if name == SET_COOKIE {
            told.extend(values.iter().map(|value| cookie(value)));
        } else if !values.is_empty() {
            // Several lines are one with commas (RFC 9110, section 5.3).
            told.insert(format!("header {name}"), values.join(", "));
        }
    }
    told
}

/// A cookie's place and attributes, without its value (RFC 6265, section 4.1).
fn cookie(line: &str) -> (String, String) {
    let mut parts = line.split(';').map(str::trim);
    let name = parts.next().and_then(|pair| pair.split_once('=')).map_or("", |(name, _)| name.trim());
    let mut attributes: Vec<String> = parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (key.trim().to_ascii_lowercase(), value.trim()) {
                // The moment follows from that of the answer.
                (key, "") => key,
                (key, _) if key == "expires" => key,
                (key, value) => format!("{key}={value}"),
            }
        })
        .collect();
    attributes.sort_unstable();
    (format!("header set-cookie {name}"), format!("a cookie with [{}]", attributes.join("; ")))
}

pub(super) fn alike(found: &mut Alike, told: &[Told; 3]) {
    let places: BTreeSet<&String> = told.iter().flat_map(Told::keys).collect();
    for place in places {
        found.place(place.clone(), told.each_ref().map(|told| told.get(place).map(String::as_str)));
    }
}
