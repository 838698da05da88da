//! In which AWS accounts Terraform acts: those of a cluster's target, or, for a target that has none of its own, any
//! that the stack file does not protect.

use std::collections::BTreeMap;

use envctl_cluster::aws::{Session, SignIn};
use envctl_cluster::terraform::guard::{self, Accounts, Allowed, Open};
use envctl_programs::process::Supervisor;
use envctl_programs::terraform::{Declared, Plan, ProviderConfig, Setting, Terraform};
use envctl_runner::StepError;
use serde_json::Value;

use super::cluster::target::cluster as cluster_failed;
use super::step_error::terraform_failed;
use super::terraform::PlanGuard;
use crate::config::Variables;

/// Every provider of a plan acts in an account of the target.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    /// The root that the plan is of.
    pub(crate) terraform: &'a Terraform,
    /// What is allowed.
    pub(crate) allowed: &'a Allowed,
    /// Who watches over the programs.
    pub(crate) by: Supervisor,
}

impl Guard<'_> {
    /// Roles that a plan does not tell: by reference, or in blocks that are there once for each of something.
    async fn check_roles(&self, open: Vec<Open>, providers: &[ProviderConfig]) -> Result<(), StepError> {
        let declared = Declared::read(&self.terraform.root, []);
        for open in open {
            // What only an evaluation can tell; nothing where it is known no earlier than Terraform runs.
            let value = match declared.expression(&open.provider, &open.setting) {
                Some(text) => self.terraform.evaluate(&text, &self.by).await.map_err(terraform_failed)?,
                None => None,
            };
            guard::check_role(&open, value.as_ref(), self.allowed).map_err(cluster_failed)?;
        }
        for provider in providers.iter().filter(|provider| guard::is_of_aws(provider)) {
            for (block, each) in declared.dynamic(&provider.key) {
                if !block.starts_with("assume_role") {
                    continue;
                }
                let count = self.terraform.evaluate(&format!("length({each})"), &self.by).await;
                if count.map_err(terraform_failed)? != Some(Value::from(0)) {
                    return Err(cluster_failed(guard::dynamic(&provider.key, &block)));
                }
            }
        }
        Ok(())
    }
}

impl PlanGuard for Guard<'_> {
    async fn check(&self, plan: &Plan) -> Result<(), StepError> {
        let providers = &plan.provider_configs;
        let open = guard::check_providers(providers, self.allowed).map_err(cluster_failed)?;
        self.check_roles(open, providers).await
    }
}

/// What a target without an account may act on.
pub(crate) fn unprotected(protected: &[String], trust: &[String]) -> Allowed {
    Allowed { accounts: Accounts::AllBut(protected.to_vec()), trusted: trust.to_vec() }
}

/// For a target that names no account: whoever is signed in acts, unless a variable leads all of AWS elsewhere.
#[derive(Debug)]
pub(crate) struct WhoeverIsSignedIn<'a> {
    /// The root, and what is allowed.
    pub(crate) guard: Guard<'a>,
    /// Our own environment, which Terraform inherits.
    pub(crate) variables: &'a Variables,
}

/// Where all of AWS is, for its SDKs.
const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// What of the stack file's variables would have Terraform act as somebody whom nobody has checked.
const OTHER_CREDENTIALS: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "HOME",
];

/// By what a provider would act as somebody else, wherever variables lead it.
const OF_SOMEBODY: [&str; 4] =
    ["profile", "shared_config_files", "shared_credentials_file", "shared_credentials_files"];

/// Whoever pretends to be AWS takes any keys, and AWS none of these.
const NOBODY: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "nobody")];

/// Variables that would lead to keys of somebody.
const KEYS_OF_SOMEBODY: [&str; 7] = [
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Takes everybody's keys from a Terraform that a variable leads elsewhere: what does not heed that variable, an older
/// provider for one, cannot act at AWS then.
pub(crate) fn equip(terraform: &mut Terraform, protected: &[String], variables: &Variables) {
    if protected.is_empty() || variable(&terraform.env, variables, ENDPOINT).is_none() {
        return;
    }
    if !terraform.env.contains_key(NOBODY[0].0) {
        terraform.env.extend(NOBODY.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    terraform.env.retain(|name, _| !KEYS_OF_SOMEBODY.contains(&name.as_str()));
    terraform.unset.extend(KEYS_OF_SOMEBODY.map(str::to_owned));
}

/// A variable as Terraform sees it: of the stack file, else ours.
fn variable(stated: &BTreeMap<String, String>, ours: &Variables, name: &str) -> Option<String> {
    let value = match stated.get(name) {
        Some(stated) => Some(stated.clone()),
        None => ours.of_aws(name),
    };
    value.filter(|text| !text.is_empty())
}

impl WhoeverIsSignedIn<'_> {
    fn stated(&self) -> &BTreeMap<String, String> {
        &self.guard.terraform.env
    }

    fn variable(&self, name: &str) -> Option<String> {
        variable(self.stated(), self.variables, name)
    }

    fn protects_nothing(&self) -> bool {
        matches!(&self.guard.allowed.accounts, Accounts::AllBut(protected) if protected.is_empty())
    }

    /// After `terraform init`: the state is kept in no account that is protected.
    pub(crate) async fn check_state(&self) -> Result<(), StepError> {
        let backend = self.guard.terraform.backend_in_use().map_err(terraform_failed)?;
        let Some(backend) = backend.filter(|backend| backend.kind == "s3") else { return Ok(()) };
        let endpoints = backend.config.get("endpoints");
        let endpoints = endpoints.map(|endpoints| endpoints.get(0).unwrap_or(endpoints));
        let own = backend.config.get("endpoint").or_else(|| endpoints?.get("s3"));
        let is_led = own.is_some_and(says_elsewhere)
            || [ENDPOINT, "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"]
                .iter()
                .any(|name| self.variable(name).is_some_and(|url| says_elsewhere(&url.into())));
        if self.protects_nothing() || is_led {
            return Ok(());
        }
        let session = self.session("Terraform's backend").await?;
        guard::check_backend(&session, Some(&backend), self.guard.allowed).await.map_err(cluster_failed)?;
        Ok(())
    }

    /// Whether a provider may act at AWS as somebody.
    fn is_somebody(&self, provider: &ProviderConfig) -> bool {
        let is_set = |name: &&str| match provider.settings.get(*name) {
            Some(Setting::Known(value)) => says(value),
            Some(Setting::Refers(_)) => true,
            None => false,
        };
        if self.variable(ENDPOINT).is_some() {
            return OF_SOMEBODY.iter().any(is_set);
        }
        // Keys and endpoints of its own: those of whoever pretends to be AWS.
        let has_endpoints = provider.settings.iter().any(|(name, setting)| {
            name.starts_with(guard::ENDPOINTS) && *setting != Setting::Known(Value::Null)
        });
        !(has_endpoints && is_set(&"access_key") && !OF_SOMEBODY.iter().any(is_set))
    }

    /// Who acts, if that is allowed.
    async fn session(&self, what: &str) -> Result<Session, StepError> {
        if let Some(name) = OTHER_CREDENTIALS.iter().find(|name| self.stated().contains_key(**name)) {
            return Err(StepError::Refused(format!(
                "{what} would act at AWS with the target's `terraform.env.{name}`, and whose that is cannot be checked\n\
                 set `{ENDPOINT}` beside it, or name a profile with AWS_PROFILE; nothing was changed at AWS"
            )));
        }
        // Keys win over a profile, for Terraform as for us.
        let by_keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .iter()
            .all(|name| self.variables.of_aws(name).is_some());
        // One that is stated as empty is the default one.
        let stated = self.stated().get("AWS_PROFILE").filter(|stated| stated.is_empty());
        let profile = stated.map(|_| "default".to_owned()).or_else(|| self.variable("AWS_PROFILE"));
        let by = SignIn {
            profile: profile.filter(|_| !by_keys),
            role: None,
            region: self
                .variable("AWS_REGION")
                .or_else(|| self.variable("AWS_DEFAULT_REGION"))
                .unwrap_or_else(|| "us-east-1".to_owned()),
            user: self.variables.user.clone(),
        };
        let session = Session::sign_in(&by).await.map_err(|error| {
            StepError::Refused(format!(
                "{what} would act at AWS, and in which account cannot be told: {error}\n\
                 the stack file protects accounts: sign in, or set `{ENDPOINT}` in the target's `terraform.env`; \
                 nothing was changed at AWS"
            ))
        })?;
        guard::check_identity(what, &session.identity, self.guard.allowed).map_err(cluster_failed)?;
        Ok(session)
    }
}

/// Whether a setting says anything at all.
fn says(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(says),
        Value::Object(map) => map.values().any(says),
        _ => false,
    }
}

/// Whether it is the address of something that is not AWS itself.
fn says_elsewhere(value: &Value) -> bool {
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase()
    };
    let of_aws = |host: &str| {
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|suffix| host.ends_with(suffix))
    };
    value.as_str().is_some_and(|url| !url.is_empty() && !of_aws(&host(url)))
}

impl PlanGuard for WhoeverIsSignedIn<'_> {
    async fn check(&self, plan: &Plan) -> Result<(), StepError> {
        if self.protects_nothing() {
            return Ok(());
        }
        let of_aws = plan.provider_configs.iter().filter(|provider| guard::is_of_aws(provider));
        let acting: Vec<_> = of_aws.filter(|provider| self.is_somebody(provider)).cloned().collect();
        let Some(first) = acting.first() else { return Ok(()) };
        let open = guard::check_providers(&acting, self.guard.allowed).map_err(cluster_failed)?;
        self.guard.check_roles(open, &acting).await?;
        self.session(&format!("Terraform's provider `{}`", first.key)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_not_aws_is_elsewhere() {
        for elsewhere in ["http://127.0.0.1:4566", "http://aws:5000/x", "https://minio.example.com"] {
            assert!(says_elsewhere(&json!(elsewhere)), "{elsewhere}");
        }
        for aws in [
            "",
            "https://sqs.eu-west-1.amazonaws.com",
            "s3.dualstack.eu-west-1.amazonaws.com:443/",
            "https://s3.eu-west-1.API.aws",
        ] {
            assert!(!says_elsewhere(&json!(aws)), "{aws}");
        }
        assert!(!says_elsewhere(&json!(null)));
    }
}
