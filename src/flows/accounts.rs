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
    /// The value of a provider's setting; `None` where it is only known while Terraform runs.
    async fn value(&self, provider: &str, setting: &str) -> Result<Option<Value>, StepError> {
        match Declared::read(&self.terraform.root, []).expression(provider, setting) {
            Some(text) => self.terraform.evaluate(&text, &self.by).await.map_err(terraform_failed),
            None => Ok(None),
        }
    }

    async fn check_roles(&self, open: Vec<Open>) -> Result<(), StepError> {
        for open in open {
            let value = self.value(&open.provider, &open.setting).await?;
            guard::check_role(&open, value.as_ref(), self.allowed).map_err(cluster_failed)?;
        }
        Ok(())
    }
}

impl PlanGuard for Guard<'_> {
    async fn check(&self, plan: &Plan) -> Result<(), StepError> {
        let open = guard::check_providers(&plan.provider_configs, self.allowed).map_err(cluster_failed)?;
        self.check_roles(open).await
    }
}

/// What a target without an account may act on.
pub(crate) fn unprotected(protected: &[String], trust: &[String]) -> Allowed {
    Allowed { accounts: Accounts::AllBut(protected.to_vec()), trusted: trust.to_vec() }
}

/// For a target that names no account: whoever is signed in acts, unless the providers are led elsewhere.
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
const OTHER_CREDENTIALS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

impl WhoeverIsSignedIn<'_> {
    fn stated(&self) -> &BTreeMap<String, String> {
        &self.guard.terraform.env
    }

    /// A variable as Terraform sees it.
    fn variable(&self, name: &str) -> Option<String> {
        self.stated()
            .get(name)
            .cloned()
            .or_else(|| self.variables.of_aws(name))
            .filter(|text| !text.is_empty())
    }

    fn protects_nothing(&self) -> bool {
        matches!(&self.guard.allowed.accounts, Accounts::AllBut(protected) if protected.is_empty())
    }

    /// After `terraform init`: the state is kept in no account that is protected.
    pub(crate) async fn check_state(&self) -> Result<(), StepError> {
        let backend = self.guard.terraform.backend_in_use().map_err(terraform_failed)?;
        let Some(backend) = backend.filter(|backend| backend.kind == "s3") else { return Ok(()) };
        let led = [ENDPOINT, "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"];
        let stated = ["endpoint", "endpoints"].iter().any(|key| backend.config.get(*key).is_some_and(says));
        if self.protects_nothing() || stated || led.iter().any(|name| self.variable(name).is_some()) {
            return Ok(());
        }
        let session = self.session("Terraform's backend").await?;
        guard::check_backend(&session, Some(&backend), self.guard.allowed).await.map_err(cluster_failed)?;
        Ok(())
    }

    /// Whether a provider has endpoints of its own.
    async fn is_led_elsewhere(&self, provider: &ProviderConfig) -> Result<bool, StepError> {
        for (name, setting) in &provider.settings {
            if !name.starts_with(guard::ENDPOINTS) {
                continue;
            }
            let value = match setting {
                Setting::Known(value) => Some(value.clone()),
                Setting::Refers(_) => self.guard.value(&provider.key, name).await?,
            };
            if value.as_ref().is_some_and(says) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Who acts, if that is allowed.
    async fn session(&self, what: &str) -> Result<Session, StepError> {
        if let Some(name) = OTHER_CREDENTIALS.iter().find(|name| self.stated().contains_key(**name)) {
            return Err(StepError::Refused(format!(
                "{what} would act at AWS with the target's `terraform.env.{name}`, and whose that is cannot be checked\n\
                 set `{ENDPOINT}` beside it, or name a profile with AWS_PROFILE; nothing was changed"
            )));
        }
        // Keys win over a profile, for Terraform as for us.
        let by_keys = self.variables.of_aws("AWS_ACCESS_KEY_ID").is_some();
        let by = SignIn {
            profile: self.variable("AWS_PROFILE").filter(|_| !by_keys),
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
                 nothing was changed"
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

impl PlanGuard for WhoeverIsSignedIn<'_> {
    async fn check(&self, plan: &Plan) -> Result<(), StepError> {
        if self.protects_nothing() || self.variable(ENDPOINT).is_some() {
            return Ok(());
        }
        let mut at_aws = Vec::new();
        for provider in plan.provider_configs.iter().filter(|provider| guard::is_of_aws(provider)) {
            if !self.is_led_elsewhere(provider).await? {
                at_aws.push(provider.clone());
            }
        }
        let Some(first) = at_aws.first() else { return Ok(()) };
        let open = guard::check_providers(&at_aws, self.guard.allowed).map_err(cluster_failed)?;
        self.guard.check_roles(open).await?;
        self.session(&format!("Terraform's provider `{}`", first.key)).await.map(drop)
    }
}
