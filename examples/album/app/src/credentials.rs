//! Who the application is to AWS: keys that it was given, or, in a cluster, a role that its service
//! account may assume.

use crate::Result;
use crate::sigv4::Credentials;
use reqwest::{Client, Url};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// For how long a role is assumed. It is every role's default, and the most that some allow.
const SESSION: Duration = Duration::from_secs(3600);
/// Keys are good for at least this long when they sign: a presigned URL ends with them.
const AT_LEAST: Duration = Duration::from_secs(20 * 60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where credentials come from.
#[derive(Debug)]
pub enum Source {
    /// Keys that do not change.
    Keys(Credentials),
    /// A role, for a token that Kubernetes writes and renews.
    WebIdentity(WebIdentity),
}

/// A role that whoever has the token may assume.
#[derive(Debug)]
pub struct WebIdentity {
    /// The role's ARN.
    pub role: String,
    /// The file with the token. It is read anew each time, because its content changes.
    pub token_file: PathBuf,
    /// What the session is called in AWS's logs.
    pub session: String,
    /// The Security Token Service.
    pub endpoint: Url,
}

/// Credentials that are good now.
pub struct Provider {
    source: Source,
    http: Client,
    assumed: Mutex<Option<(Credentials, Instant)>>,
}

impl Provider {
    /// Nothing is asked for yet.
    pub fn new(source: Source, http: Client) -> Self {
        Provider { source, http, assumed: Mutex::default() }
    }

    /// Credentials that stay good for a while.
    pub async fn get(&self) -> Result<Credentials> {
        let identity = match &self.source {
            Source::Keys(keys) => return Ok(keys.clone()),
            Source::WebIdentity(identity) => identity,
        };
        // Whoever comes meanwhile waits for the same answer instead of asking, too.
        let mut assumed = self.assumed.lock().await;
        if let Some((credentials, since)) = &*assumed
            && since.elapsed() + AT_LEAST < SESSION
        {
            return Ok(credentials.clone());
        }
        let since = Instant::now();
        let credentials = identity.assume(&self.http).await?;
        *assumed = Some((credentials.clone(), since));
        Ok(credentials)
    }
}

impl WebIdentity {
    async fn assume(&self, http: &Client) -> Result<Credentials> {
        let token = tokio::fs::read_to_string(&self.token_file)
            .await
            .map_err(|error| format!("{}: {error}", self.token_file.display()))?;
        let seconds = SESSION.as_secs().to_string();
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role),
            ("RoleSessionName", &self.session),
            ("WebIdentityToken", token.trim()),
            ("DurationSeconds", &seconds),
        ];
        let answer = http.post(self.endpoint.clone()).form(&form).timeout(TIMEOUT).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            let why = element(&text, "Message").unwrap_or("no reason was given");
            return Err(format!("{} cannot be assumed: {status}: {why}", self.role).into());
        }
        parse(&text).ok_or_else(|| "the Security Token Service answered without credentials".into())
    }
}

fn parse(answer: &str) -> Option<Credentials> {
    Some(Credentials {
        access_key: element(answer, "AccessKeyId")?.to_owned(),
        secret_key: element(answer, "SecretAccessKey")?.to_owned(),
        session_token: Some(element(answer, "SessionToken")?.to_owned()),
    })
}

/// The text of the only element of this name. Keys and tokens need no unescaping.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let answer = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                      <SessionToken>t+/=</SessionToken><SecretAccessKey>s/+</SecretAccessKey>\
                      <Expiration>2026-01-01T00:00:00Z</Expiration><AccessKeyId>ASIA1</AccessKeyId>\
                      </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
        let credentials = parse(answer).unwrap();
        assert_eq!(
            (&*credentials.access_key, &*credentials.secret_key, credentials.session_token.as_deref()),
            ("ASIA1", "s/+", Some("t+/="))
        );
        assert!(parse("<Error><Message>no</Message></Error>").is_none());
    }

    #[tokio::test]
    async fn a_token_that_is_not_there_is_named() {
        let identity = WebIdentity {
            role: "arn:aws:iam::333333333333:role/album".into(),
            token_file: "/nowhere/token".into(),
            session: "album".into(),
            endpoint: Url::parse("http://127.0.0.1:9").unwrap(),
        };
        let provider = Provider::new(Source::WebIdentity(identity), Client::new());
        let error = provider.get().await.err().unwrap().to_string();
        assert!(error.starts_with("/nowhere/token: "), "{error}");
    }
}
