//! Terraform is guarded too: its backend and every provider of AWS lead to an allowed account, or
//! nothing is planned or applied. Pure, but for the bucket's owner.

use envctl_programs::terraform::{Backend, ProviderConfig, Setting};

use crate::aws::{Identity, Session};
use crate::error::ClusterError;

/// What Terraform may act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// AWS accounts.
    pub accounts: Accounts,
    /// Backends and providers that cannot be checked, and that the stack file trusts: `http`.
    pub trusted: Vec<String>,
}

/// AWS accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// The target's, and those that the stack file adds.
    Only(Vec<String>),
    /// Any but those that the stack file protects, for a target that has none of its own.
    AllBut(Vec<String>),
}

impl Accounts {
    fn have(&self, account: &str) -> bool {
        match self {
            Self::Only(allowed) => allowed.iter().any(|allowed| allowed == account),
            Self::AllBut(protected) => !protected.iter().any(|protected| protected == account),
        }
    }

    /// Why another account is none of these, and what to do about it.
    fn otherwise(&self) -> (String, &'static str) {
        match self {
            Self::Only(allowed) => (
                format!("allowed: {}", allowed.join(", ")),
                "take the role out, or allow its account with `terraform: {accounts: [..]}` of the target",
            ),
            Self::AllBut(_) => ("the stack file protects it".to_owned(), "take the role out"),
        }
    }
}

impl Allowed {
    fn role(&self, what: &str, arn: &str) -> Result<(), ClusterError> {
        match account_of_arn(arn) {
            Some(account) if self.accounts.have(account) => Ok(()),
            Some(account) => {
                let (why, hint) = self.accounts.otherwise();
                Err(refused(format!("{what} assumes {arn}, a role of account {account}; {why}"), hint))
            }
            None => Err(refused(
                format!("{what} assumes `{arn}`, which names no account"),
                "write the role's whole ARN",
            )),
        }
    }
}

fn refused(message: String, hint: &str) -> ClusterError {
    ClusterError::Refused { message, hint: format!("{hint}; nothing was changed at AWS") }
}

/// The account in an ARN: `arn:aws:iam::333333333333:role/x`.
fn account_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    if parts.next() != Some("arn") {
        return None;
    }
    parts.nth(3).filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
}

/// Settings by which a provider or backend would use other credentials than those that were checked.
const OTHER_CREDENTIALS: [&str; 7] = [
    "profile",
    "access_key",
    "secret_key",
    "token",
    "shared_credentials_file",
    "shared_credentials_files",
    "shared_config_files",
];
/// Providers that act at AWS.
const OF_AWS: [&str; 2] = ["/hashicorp/aws", "/hashicorp/awscc"];
/// Providers that act in a Kubernetes cluster.
const OF_CLUSTERS: [&str; 3] = ["/hashicorp/kubernetes", "/hashicorp/helm", "/gavinbunney/kubectl"];
/// Of some providers `assume_role` is one object.
const ROLES: [&str; 5] = [
    "assume_role.role_arn",
    "role_arn",
    "assume_role_with_web_identity.role_arn",
    "assume_role",
    "assume_role_with_web_identity",
];

/// What leads a provider to endpoints of its own: nobody's account is there.
pub const ENDPOINTS: &str = "endpoints.";

/// Whether a provider acts at AWS, or would without endpoints of its own.
#[must_use]
pub fn is_of_aws(provider: &ProviderConfig) -> bool {
    OF_AWS.iter().any(|source| provider.source.ends_with(source))
}

/// A setting whose value only an evaluation of the root can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The provider: `aws.other`.
    pub provider: String,
    /// The setting: `assume_role.role_arn`.
    pub setting: String,
    /// What it refers to: `local.role`.
    pub references: Vec<String>,
}

/// Checks the providers of a plan. What is returned has to be evaluated, and checked with [`check_role`].
///
/// # Errors
/// [`ClusterError::Refused`] for a provider that would act as somebody else.
pub fn check_providers(providers: &[ProviderConfig], allowed: &Allowed) -> Result<Vec<Open>, ClusterError> {
    let mut open = Vec::new();
    for provider in providers {
        let what = format!("Terraform's provider `{}`", provider.key);
        let kind = provider.source.rsplit('/').next().unwrap_or_default();
        if OF_CLUSTERS.iter().any(|source| provider.source.ends_with(source))
            && !allowed.trusted.iter().any(|trusted| trusted == kind)
        {
            return Err(refused(
                format!("{what} acts in a Kubernetes cluster, and envctl cannot check in which"),
                &format!(
                    "leave these objects to the chart, or trust it with `terraform: {{trust: [{kind}]}}` of the target"
                ),
            ));
        }
        if !is_of_aws(provider) {
            continue;
        }
        for (name, setting) in &provider.settings {
            if OTHER_CREDENTIALS.contains(&name.as_str())
                && *setting != Setting::Known(serde_json::Value::Null)
            {
                return Err(refused(
                    format!("{what} sets `{name}`: it would not use the credentials that were checked"),
                    "take it out: only the credentials that were checked may act",
                ));
            }
            if !ROLES.contains(&name.as_str()) {
                continue;
            }
            match setting {
                Setting::Known(serde_json::Value::Null) => {}
                Setting::Known(value) => allowed.role(&what, role_of(value).unwrap_or_default())?,
                // Its variables and local values are the module's, which nobody can ask Terraform for.
                Setting::Refers(references) if provider.key.contains(':') => {
                    return Err(refused(
                        format!(
                            "{what}, of a module, assumes a role by reference ({})",
                            references.join(", ")
                        ),
                        "configure the provider in the root, or make the role a constant",
                    ));
                }
                Setting::Refers(references) => open.push(Open {
                    provider: provider.key.clone(),
                    setting: name.clone(),
                    references: references.clone(),
                }),
            }
        }
    }
    Ok(open)
}

/// The ARN, of a text or of an object.
fn role_of(value: &serde_json::Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("role_arn")?.as_str())
}

/// A block of a provider is there only if an evaluation says so, and says more than a plan tells.
#[must_use]
pub fn dynamic(provider: &str, block: &str) -> ClusterError {
    refused(
        format!("Terraform's provider `{provider}` has a dynamic block `{block}`, which no plan tells of"),
        "write the block itself; a role that is null is none",
    )
}

/// Checks who a provider or backend acts as by itself, where no target says who that has to be.
///
/// # Errors
/// [`ClusterError::Refused`] for an account that is not allowed.
pub fn check_identity(what: &str, identity: &Identity, allowed: &Allowed) -> Result<(), ClusterError> {
    if allowed.accounts.have(&identity.account) {
        return Ok(());
    }
    let (why, _) = allowed.accounts.otherwise();
    Err(refused(
        format!("{what} would act in AWS account {} as {}; {why}", identity.account, identity.arn),
        "sign in to another account, or set `AWS_ENDPOINT_URL` in the target's `terraform.env`",
    ))
}

/// Checks a role that was evaluated; `None` is no role at all.
///
/// # Errors
/// [`ClusterError::Refused`] for a role of another account, or one that cannot be told.
pub fn check_role(
    open: &Open,
    value: Option<&serde_json::Value>,
    allowed: &Allowed,
) -> Result<(), ClusterError> {
    let what = format!("Terraform's provider `{}`", open.provider);
    match value {
        Some(serde_json::Value::Null) => Ok(()),
        Some(value) if role_of(value).is_some() => allowed.role(&what, role_of(value).unwrap_or_default()),
        _ => Err(refused(
            format!(
                "{what} assumes a role that is only known while it runs (it refers to {})",
                open.references.join(", ")
            ),
            "make it a constant, or of variables and local values alone",
        )),
    }
}

/// What is known of a backend after it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// In a bucket of an allowed account.
    S3(Bucket),
    /// In files on this machine: no other one can remove what Terraform makes.
    Local,
    /// Somewhere that the stack file trusts.
    Trusted,
}

/// The bucket of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// The state's key, without the workspace's prefix.
    pub key: String,
    /// The prefix of workspaces.
    pub prefix: String,
    /// Its region, where the backend names one.
    pub region: Option<String>,
    /// Requests name it in the path.
    pub path_style: bool,
}

/// Checks the backend that `terraform init` has settled on.
///
/// # Errors
/// [`ClusterError::Refused`] for one that leads elsewhere; when S3 does not answer.
pub async fn check_backend(
    session: &Session,
    backend: Option<&Backend>,
    allowed: &Allowed,
) -> Result<State, ClusterError> {
    let Some(backend) = backend else { return Ok(State::Local) };
    if backend.kind != "s3" {
        if allowed.trusted.contains(&backend.kind) {
            return Ok(State::Trusted);
        }
        return Err(refused(
            format!("Terraform's backend is `{}`: envctl cannot check whose it is", backend.kind),
            "keep the state in S3, or trust this one with `terraform: {trust: [..]}` of the target",
        ));
    }
    let bucket = read_s3(backend, allowed)?;
    check_owner(session, &bucket, allowed).await?;
    Ok(State::S3(bucket))
}

fn read_s3(backend: &Backend, allowed: &Allowed) -> Result<Bucket, ClusterError> {
    let config = &backend.config;
    let text = |key: &str| config.get(key).and_then(|v| v.as_str()).filter(|text| !text.is_empty());
    let what = "Terraform's backend";
    if let Some(name) = OTHER_CREDENTIALS.iter().find(|name| {
        config.get(**name).is_some_and(|v| {
            v.as_str() != Some("") && !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty())
        })
    }) {
        return Err(refused(
            format!("{what} sets `{name}`: it would not use the credentials that were checked"),
            "take it out: only the credentials that were checked may act",
        ));
    }
    let nested = config.get("assume_role");
    let nested = nested.and_then(|role| role.get(0).unwrap_or(role).get("role_arn")).and_then(|v| v.as_str());
    if let Some(arn) = nested.or_else(|| text("role_arn")) {
        allowed.role(what, arn)?;
    }
    for (name, instead) in [
        ("assume_role_with_web_identity", "it would not use the credentials that were checked"),
        ("endpoints", "whose bucket is there cannot be checked"),
        ("endpoint", "whose bucket is there cannot be checked"),
    ] {
        let set = config.get(name).filter(|v| !v.is_null() && v.as_str() != Some(""));
        let empty = |v: &serde_json::Value| {
            let inner = v.get(0).unwrap_or(v);
            inner.as_array().is_some_and(Vec::is_empty)
                || inner.as_object().is_some_and(|o| o.values().all(serde_json::Value::is_null))
        };
        if set.is_some_and(|v| !empty(v)) {
            return Err(refused(
                format!("{what} sets `{name}`: {instead}"),
                "take it out; AWS_ENDPOINT_URL_S3 leads envctl and Terraform to another S3",
            ));
        }
    }
    let truth = |key: &str| config.get(key).and_then(serde_json::Value::as_bool) == Some(true);
    let (Some(bucket), Some(key)) = (text("bucket"), text("key")) else {
        return Err(refused(format!("{what} names no bucket or no key"), "complete it with `backendConfig`"));
    };
    Ok(Bucket {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        prefix: text("workspace_key_prefix").unwrap_or("env:").to_owned(),
        region: text("region").map(str::to_owned),
        path_style: truth("use_path_style") || truth("force_path_style"),
    })
}

/// A bucket of this name belongs to one of the allowed accounts.
async fn check_owner(session: &Session, bucket: &Bucket, allowed: &Allowed) -> Result<(), ClusterError> {
    let client = client(session, bucket);
    let (Accounts::Only(accounts) | Accounts::AllBut(accounts)) = &allowed.accounts;
    for account in accounts {
        let asked = client.head_bucket().bucket(&bucket.bucket).expected_bucket_owner(account).send().await;
        let error = match asked {
            Ok(_) if allowed.accounts.have(account) => return Ok(()),
            Ok(_) => {
                let (why, _) = allowed.accounts.otherwise();
                return Err(refused(
                    format!(
                        "the bucket `{}` of Terraform's state belongs to account {account}; {why}",
                        bucket.bucket
                    ),
                    "correct `bucket` of the backend, or keep the state here with `backend: local` of the target",
                ));
            }
            Err(error) => error,
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        if status == Some(404) {
            return Err(refused(
                format!("the bucket `{}` of Terraform's state does not exist", bucket.bucket),
                "correct `bucket` of the backend, or have it made",
            ));
        }
        if status != Some(403) {
            return Err(ClusterError::from_aws("to say whose the bucket of Terraform's state is")(error));
        }
    }
    // Whoever may not see it may not say whose it is.
    if matches!(allowed.accounts, Accounts::AllBut(_))
        && client.head_bucket().bucket(&bucket.bucket).send().await.is_ok()
    {
        return Ok(());
    }
    Err(refused(
        format!(
            "the bucket `{}` of Terraform's state belongs to none of the allowed accounts{}, or you may not see it",
            bucket.bucket,
            match &allowed.accounts {
                Accounts::Only(accounts) => format!(" ({})", accounts.join(", ")),
                Accounts::AllBut(_) => String::new(),
            }
        ),
        "correct `bucket` of the backend, or allow its account with `terraform: {accounts: [..]}` of the target",
    ))
}

/// A client for the bucket's region.
pub(crate) fn client(session: &Session, bucket: &Bucket) -> aws_sdk_s3::Client {
    let mut config = aws_sdk_s3::config::Builder::from(session.config()).force_path_style(bucket.path_style);
    if let Some(region) = &bucket.region {
        config = config.region(aws_config::Region::new(region.clone()));
    }
    aws_sdk_s3::Client::from_conf(config.build())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    fn allowed() -> Allowed {
        Allowed { accounts: Accounts::Only(vec!["333333333333".into()]), trusted: vec!["http".into()] }
    }

    #[test]
    fn where_no_account_is_named_any_will_do_but_a_protected_one() {
        let allowed = Allowed { accounts: Accounts::AllBut(vec!["111111111111".into()]), ..allowed() };
        let role = |account: &str| {
            let arn = known(&format!("arn:aws:iam::{account}:role/x"));
            check_providers(&[provider("aws", &[("assume_role.role_arn", arn)])], &allowed)
        };
        assert_eq!(role("333333333333").unwrap(), []);
        let error = role("111111111111").unwrap_err().to_string();
        assert!(error.contains("a role of account 111111111111; the stack file protects it"), "{error}");
        let identity =
            |account: &str| Identity { account: account.into(), arn: "arn:aws:iam::x:user/aki".into() };
        assert!(check_identity("x", &identity("333333333333"), &allowed).is_ok());
        let error = check_identity("Terraform's backend", &identity("111111111111"), &allowed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Terraform's backend would act in AWS account 111111111111 as arn:aws:iam::x:user/aki; the stack file \
             protects it"
        );
    }

    fn provider(key: &str, settings: &[(&str, Setting)]) -> ProviderConfig {
        let settings: BTreeMap<_, _> = settings.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        ProviderConfig { key: key.into(), source: "registry.terraform.io/hashicorp/aws".into(), settings }
    }

    fn known(text: &str) -> Setting {
        Setting::Known(text.into())
    }

    #[test]
    fn a_provider_acts_as_who_was_checked_or_as_a_role_of_an_allowed_account() {
        let ours = provider("aws", &[("assume_role.role_arn", known("arn:aws:iam::333333333333:role/ci"))]);
        assert_eq!(check_providers(&[ours], &allowed()).unwrap(), []);
        for (setting, value, expected) in [
            (
                "assume_role.role_arn",
                known("arn:aws:iam::111111111111:role/admin"),
                "a role of account 111111111111",
            ),
            ("assume_role.role_arn", known("admin"), "names no account"),
            ("profile", known("production"), "sets `profile`"),
            ("access_key", Setting::Refers(vec!["var.key".into()]), "sets `access_key`"),
        ] {
            let other = provider("aws.other", &[(setting, value)]);
            let error = check_providers(&[other], &allowed()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("`aws.other`"), "{error}");
        }
        let in_module =
            provider("module.x:aws", &[("assume_role.role_arn", Setting::Refers(vec!["var.role".into()]))]);
        let error = check_providers(&[in_module], &allowed()).unwrap_err().to_string();
        assert!(error.contains("of a module, assumes a role by reference (var.role)"), "{error}");
        let mut cluster = provider("kubernetes", &[]);
        cluster.source = "registry.terraform.io/hashicorp/kubernetes".to_owned();
        let error = check_providers(&[cluster.clone()], &allowed()).unwrap_err().to_string();
        assert!(error.contains("acts in a Kubernetes cluster"), "{error}");
        let trusting = Allowed { trusted: vec!["kubernetes".to_owned()], ..allowed() };
        assert_eq!(check_providers(&[cluster], &trusting).unwrap(), []);
        let by_local =
            provider("aws", &[("assume_role.role_arn", Setting::Refers(vec!["local.role".into()]))]);
        let open = check_providers(&[by_local], &allowed()).unwrap();
        assert!(check_role(&open[0], Some(&json!("arn:aws:iam::333333333333:role/x")), &allowed()).is_ok());
        assert!(check_role(&open[0], Some(&json!("arn:aws:iam::444444444444:role/x")), &allowed()).is_err());
        let error = check_role(&open[0], None, &allowed()).unwrap_err().to_string();
        assert!(error.contains("only known while it runs (it refers to local.role)"), "{error}");
    }

    #[test]
    fn a_backend_is_read_with_the_role_it_assumes() {
        let backend = |config: serde_json::Value| Backend {
            kind: "s3".into(),
            config: config.as_object().unwrap().clone(),
        };
        let plain =
            json!({"bucket": "b", "key": "k", "profile": "", "assume_role": null, "use_path_style": true});
        let read = read_s3(&backend(plain), &allowed()).unwrap();
        assert_eq!((read.bucket.as_str(), read.prefix.as_str(), read.path_style), ("b", "env:", true));
        for (config, expected) in [
            (json!({"bucket": "b", "key": "k", "profile": "prod"}), "sets `profile`"),
            (
                json!({"bucket": "b", "key": "k", "endpoints": [{"s3": "http://elsewhere"}]}),
                "sets `endpoints`",
            ),
            (
                json!({"bucket": "b", "key": "k", "assume_role_with_web_identity": [{"role_arn": "x"}]}),
                "sets `assume_role_with_web_identity`",
            ),
            (
                json!({"bucket": "b", "key": "k", "assume_role": [{"role_arn": "arn:aws:iam::111111111111:role/x"}]}),
                "account 111111111111",
            ),
            (
                json!({"bucket": "b", "key": "k", "role_arn": "arn:aws:iam::111111111111:role/x"}),
                "account 111111111111",
            ),
            (json!({"bucket": "b"}), "no key"),
        ] {
            let error = read_s3(&backend(config), &allowed()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
