//! The guard: nothing is changed on a cluster unless account, region, cluster, authority and
//! credentials are the expected ones and nothing protected is meant.

use envctl_model::stack::Protected;
use envctl_rehearse::evidence::Admission;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde::Serialize;

use crate::aws::eks::{self, Description, parts_of_arn};
use crate::aws::{Session, SignIn, TokenSource};
use crate::client::ClusterReader;
use crate::cutover::CutoverTarget;
use crate::error::ClusterError;

/// Which cluster is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The AWS account, 12 digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// The cluster's name.
    pub cluster: String,
    /// The UID of its namespace `kube-system`, where it was pinned.
    pub uid: Option<String>,
}

/// What is about to be changed.
#[derive(Debug, Clone, Copy)]
pub struct Intent<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The Terraform workspace; `None` where only the environment's record tells it.
    pub workspace: Option<&'a str>,
    /// When it will be done at the latest: credentials have to last until then.
    pub until: Timestamp,
}

/// Whether something is as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As expected.
    Ok,
    /// Not as it should be, and no reason to refuse.
    Warning,
    /// Refused.
    Refused,
}

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What: `account`, `cluster`.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// Whether it is as expected.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
}

/// What is known about who we are and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The AWS account.
    pub account: String,
    /// Our ARN in it.
    pub arn: String,
    /// The region.
    pub region: String,
    /// The cluster's name.
    pub cluster: String,
    /// The UID of `kube-system`.
    pub uid: String,
    /// Whom the cluster takes us for.
    pub username: String,
    /// And in which groups.
    pub groups: Vec<String>,
}

/// A cluster that was looked at, as far as it could be.
#[derive(Debug)]
pub struct Examined {
    /// What was compared, in order.
    pub checks: Vec<Check>,
    outcome: Result<Seen, ClusterError>,
}

#[derive(Debug)]
struct Seen {
    session: Session,
    reader: ClusterReader,
    tokens: TokenSource,
    facts: Facts,
    description: Description,
    renew: String,
}

/// A cluster that was proven to be the expected one, with the credentials that proved it. Only functions
/// that take this type change anything.
#[derive(Debug, Clone)]
pub struct VerifiedCluster {
    reader: ClusterReader,
    session: Session,
    tokens: TokenSource,
    facts: Facts,
    description: Description,
    warnings: Vec<String>,
}

/// Signs in and looks at the cluster, without changing anything. It stops at the first thing that is
/// not as expected: a wrong account's cluster is not even asked for.
pub async fn examine(expected: &Expected, protected: &Protected, by: &SignIn) -> Examined {
    let mut checks = Vec::new();
    let outcome = look(expected, protected, by, &mut checks).await;
    Examined { checks, outcome }
}

async fn look(
    expected: &Expected,
    protected: &Protected,
    by: &SignIn,
    checks: &mut Vec<Check>,
) -> Result<Seen, ClusterError> {
    let session = Session::sign_in(by).await?;
    let identity = session.identity.clone();
    checks.push(ok("identity", &identity.arn, by.describe()));
    compare(checks, "account", &identity.account, &expected.account, "the account of the target")?;
    note_protected(checks, "account", &protected.accounts, &identity.account);

    let description = eks::describe(&session, &expected.cluster).await?;
    let (region, account, name) = parts_of_arn(&description.arn).ok_or_else(|| ClusterError::Unreadable {
        doing: "DescribeCluster".to_owned(),
        message: format!("`{}` is no ARN of a cluster", description.arn),
    })?;
    compare(checks, "region", region, &expected.region, "the region of the target")?;
    compare(checks, "cluster's account", account, &expected.account, "the account of the target")?;
    compare(checks, "cluster", name, &expected.cluster, "the cluster of the target")?;
    note_protected(checks, "cluster", &protected.clusters, name);
    checks.push(ok("endpoint", &description.endpoint, "as EKS says, with its authority"));

    let tokens = TokenSource::new(session.frozen.clone(), &expected.cluster);
    let reader = ClusterReader::connect(&description, &tokens)?;
    let namespaces: Api<Namespace> = Api::all(reader.client());
    let reviews: Api<SelfSubjectReview> = Api::all(reader.client());
    let (params, me) = (PostParams::default(), SelfSubjectReview::default());
    let (system, me) = tokio::join!(namespaces.get("kube-system"), reviews.create(&params, &me));
    let me = me.map_err(reader.failed("to say who we are"))?;
    let user = me.status.and_then(|status| status.user_info).unwrap_or_default();
    let username = user.username.unwrap_or_default();
    checks.push(ok("user", &username, "as the cluster takes us for"));
    let system = system.map_err(reader.failed("to show its namespace kube-system"))?;
    let uid = system.metadata.uid.unwrap_or_default();
    match &expected.uid {
        Some(pinned) => {
            let why = "clusterUid of the target: another cluster of the same name has another one";
            compare(checks, "cluster UID", &uid, pinned, why)?;
        }
        None => checks.push(Check {
            what: "cluster UID",
            found: uid.clone(),
            verdict: Verdict::Warning,
            why: "not pinned: `envctl init --pin` writes it into the stack file".to_owned(),
        }),
    }
    let facts = Facts {
        account: identity.account,
        arn: identity.arn,
        region: region.to_owned(),
        cluster: name.to_owned(),
        uid,
        username,
        groups: user.groups.unwrap_or_default(),
    };
    Ok(Seen { session, reader, tokens, facts, description, renew: by.renew() })
}

fn ok(what: &'static str, found: &str, why: impl Into<String>) -> Check {
    Check { what, found: found.to_owned(), verdict: Verdict::Ok, why: why.into() }
}

fn compare(
    checks: &mut Vec<Check>,
    what: &'static str,
    found: &str,
    expected: &str,
    why: &str,
) -> Result<(), ClusterError> {
    if found == expected {
        checks.push(ok(what, found, why));
        return Ok(());
    }
    let message = format!("the {what} is {found}, and the target wants {expected}");
    checks.push(Check {
        what,
        found: found.to_owned(),
        verdict: Verdict::Refused,
        why: format!("the target wants {expected}"),
    });
    Err(ClusterError::Refused {
        message,
        hint: "`envctl whoami` shows what would be used and why; nothing was changed".to_owned(),
    })
}

/// What is protected may be looked at: it is refused when something is to be changed.
fn note_protected(checks: &mut Vec<Check>, what: &'static str, rules: &[String], name: &str) {
    if let Some(rule) = Protected::rule(rules, name) {
        checks.push(Check {
            what,
            found: name.to_owned(),
            verdict: Verdict::Refused,
            why: format!("protected by the rule `{rule}` of the stack file: nothing is changed there"),
        });
    }
}

impl Examined {
    /// What was found; `None` where the examination stopped early.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.outcome.as_ref().ok().map(|seen| &seen.facts)
    }

    /// When the credentials end, and whether they do at all.
    #[must_use]
    pub fn credentials(&self) -> Option<(Option<Timestamp>, bool)> {
        let seen = self.outcome.as_ref().ok()?;
        Some((seen.session.frozen.expires(), seen.session.frozen.is_temporary()))
    }

    /// Why the examination stopped early, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&ClusterError> {
        self.outcome.as_ref().err()
    }

    /// The right to look, and the session that has it; `None` where the examination stopped early.
    #[must_use]
    pub fn looking(&self) -> Option<(&ClusterReader, &Session)> {
        self.outcome.as_ref().ok().map(|seen| (&seen.reader, &seen.session))
    }

    /// The right to look.
    ///
    /// # Errors
    /// What stopped the examination.
    pub fn reader(self) -> Result<(ClusterReader, Facts), ClusterError> {
        self.outcome.map(|seen| (seen.reader, seen.facts))
    }

    /// The right to change what is meant, and nothing that is protected.
    ///
    /// # Errors
    /// What stopped the examination; [`ClusterError::Refused`] for what is protected;
    /// [`ClusterError::Credentials`] where they end too soon.
    pub fn verify(self, protected: &Protected, intent: Intent<'_>) -> Result<VerifiedCluster, ClusterError> {
        if let Some(facts) = self.facts() {
            refuse_protected(protected, facts, intent)?;
        }
        self.prove(intent.until)
    }

    /// The right to do what a cutover does, in one namespace, and nothing else: also where an account, a cluster or the
    /// namespace is protected. Only evidence gives it.
    ///
    /// # Errors
    /// What stopped the examination; [`ClusterError::Credentials`] where they end too soon.
    pub fn admit(
        self,
        admission: &Admission,
        namespace: &str,
        until: Timestamp,
    ) -> Result<CutoverTarget, ClusterError> {
        Ok(CutoverTarget::new(&self.prove(until)?, namespace, admission.evidence().id()))
    }

    fn prove(self, until: Timestamp) -> Result<VerifiedCluster, ClusterError> {
        let seen = self.outcome?;
        let mut warnings: Vec<String> = self
            .checks
            .iter()
            .filter(|check| check.verdict == Verdict::Warning)
            .map(|check| format!("{} {}: {}", check.what, check.found, check.why))
            .collect();
        match seen.session.frozen.expires() {
            Some(at) if at <= until => {
                let left = crate::words::minutes(at.duration_since(Timestamp::now()));
                let needed = crate::words::minutes(until.duration_since(Timestamp::now()));
                return Err(ClusterError::Credentials {
                    message: format!(
                        "the AWS credentials end in {left}, and this may take {needed}: they would end in the middle of it"
                    ),
                    hint: seen.renew,
                });
            }
            None if seen.session.frozen.is_temporary() => {
                warnings.push("nobody says when these temporary AWS credentials end".to_owned());
            }
            _ => {}
        }
        let Seen { session, reader, tokens, facts, description, renew } = seen;
        reader.prove(renew);
        Ok(VerifiedCluster { reader, session, tokens, facts, description, warnings })
    }
}

/// Refuses what is protected.
fn refuse_protected(protected: &Protected, facts: &Facts, intent: Intent<'_>) -> Result<(), ClusterError> {
    for (what, rules, name) in [
        ("account", &protected.accounts, Some(facts.account.as_str())),
        ("cluster", &protected.clusters, Some(&*facts.cluster)),
        ("namespace", &protected.namespaces, Some(intent.namespace)),
        ("workspace", &protected.workspaces, intent.workspace),
    ] {
        if let Some(name) = name
            && let Some(rule) = Protected::rule(rules, name)
        {
            return Err(ClusterError::Refused {
                message: format!("{what} `{name}` is protected by the rule `{rule}` of the stack file"),
                hint: "choose another target or name; nothing was changed".to_owned(),
            });
        }
    }
    Ok(())
}

impl VerifiedCluster {
    /// Who and where we are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The same cluster, to look only.
    #[must_use]
    pub fn reader(&self) -> &ClusterReader {
        &self.reader
    }

    /// The AWS session whose credentials were checked.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The API server and its authority, for the kubeconfig of programs that we start.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Tokens for this cluster by the checked credentials.
    #[must_use]
    pub fn tokens(&self) -> &TokenSource {
        &self.tokens
    }

    /// What is worth knowing and stops nothing.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.reader.client()
    }

    pub(crate) fn failed(&self, doing: &str) -> impl Fn(kube::Error) -> ClusterError + use<> {
        self.reader.failed(doing)
    }
}
