//! What an application's log says about requests of the load.
//!
//! Applications log as they like. All that is asked of one is that the id of a request, its header `x-request-id`,
//! stands in the line of the request. What the status was is read from a JSON field or from the place that the common
//! log format has for it.

use serde_json::Value;

/// A request that a line of a log is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its id.
    pub id: &'a str,
    /// The status that the line tells; 0 if it tells none.
    pub status: u16,
    /// Who asked, where the line is JSON and says so.
    pub agent: Option<String>,
}

/// The request that a line is about, for ids that begin with `prefix`: the load's seed and a hyphen.
#[must_use]
pub fn read<'a>(line: &'a str, prefix: &str) -> Option<Line<'a>> {
    let id = line.match_indices(prefix).find_map(|(start, _)| id_at(line, start, prefix))?;
    let json = line.find('{').and_then(|at| serde_json::from_str::<Value>(line[at..].trim_end()).ok());
    let field = |names: &[&str]| json.as_ref().and_then(|json| names.iter().find_map(|name| json.get(name)));
    let status = match &json {
        Some(_) => field(&["status", "statusCode", "status_code", "code"]).and_then(number),
        None => common(line),
    };
    let agent =
        field(&["userAgent", "user_agent", "agent"]).and_then(|agent| agent.as_str()).map(str::to_owned);
    Some(Line { id, status: status.unwrap_or(0), agent })
}

/// The id that begins there, if it stands alone: names of pods have such pieces in them.
fn id_at<'a>(line: &'a str, start: usize, prefix: &str) -> Option<&'a str> {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let digits = &line[start + prefix.len()..];
    let after = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    let end = line.len() - after.len();
    let alone = !line[..start].ends_with(goes_on) && !after.starts_with(goes_on);
    (alone && after.len() < digits.len()).then(|| &line[start..end])
}

fn number(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|status| (100..600).contains(status))
}

/// The status of a line in the common log format: three digits after the quoted request.
/// <https://httpd.apache.org/docs/2.4/logs.html#common>
fn common(line: &str) -> Option<u16> {
    let after = line.split('"').skip(2).step_by(2);
    after
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .find(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Option<(&str, u16)> {
        read(line, "7f-").map(|line| (line.id, line.status))
    }

    #[test]
    fn lines_of_applications_that_log_as_they_like() {
        assert_eq!(told(r#"{"request_id":"7f-12","status":201,"path":"/"}"#), Some(("7f-12", 201)));
        assert_eq!(told(r#"I, [1] INFO: {"id":"7f-3","statusCode":"404"}"#), Some(("7f-3", 404)));
        assert_eq!(told(r#"::1 - - [1/Jan] "GET /a HTTP/1.1" 503 12 "-" "7f-9""#), Some(("7f-9", 503)));
        assert_eq!(told("handled 7f-77 in 12 ms"), Some(("7f-77", 0)));
        // Not one of ours.
        assert_eq!(told("GET /a 200"), None);
        assert_eq!(told("7f-x"), None);
        // The name of a pod, before the id and without one.
        let of_pod = r#"{"instance":"api-6d97f-5x7f-4","request":"7f-12","status":"200"}"#;
        assert_eq!(told(of_pod), Some(("7f-12", 200)));
        assert_eq!(told(r#"{"instance":"api-6d97f-5","order":"7f-4b"}"#), None);
    }
}
