//! `envctl up`

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Base;
use crate::flows::up::{self, Images, Options};
use crate::ui::{Failure, Format};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long the environment lives: 90m, 24h, 7d, never [default: the stack file's]
    #[arg(long)]
    pub(super) ttl: Option<String>,
    #[command(flatten)]
    pub(super) chart: Chart,
    /// Consent to what destroys something: replaced or deleted Terraform resources
    #[arg(long, short)]
    yes: bool,
    /// Remove everything again if it fails
    #[arg(long)]
    rollback: bool,
    /// How long to wait until all pods are ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = super::seconds())]
    wait_timeout: u64,
    /// In a cluster: how long a pod may find no node before that is a failure, in seconds; a cluster that
    /// grows takes a while
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = super::seconds())]
    schedule_grace: u64,
}

/// Flags that decide what is rendered.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Chart {
    /// Set a chart value, as Helm's --set does
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where images come from [default: build; in a cluster ci, if the commit is pushed and clean]
    #[arg(long, value_enum)]
    images: Option<Images>,
    /// Take this image instead of building it
    #[arg(long, value_name = "NAME=REF", value_parser = name_and_reference)]
    image: Vec<(String, String)>,
    /// Start only these components, and what their init containers wait for; the next `up` says anew what runs
    #[arg(long, value_name = "COMPONENT,..", value_delimiter = ',')]
    only: Vec<String>,
    /// Have components run the working tree instead of their image, as `dev` of the target says; an `up` without
    /// it takes that away
    #[arg(long)]
    dev: bool,
}

pub(super) fn name_and_reference(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, reference)) if !name.is_empty() && !reference.is_empty() => {
            Ok((name.to_owned(), reference.to_owned()))
        }
        _ => Err("write NAME=REF, such as app=album/app:1.2".to_owned()),
    }
}

impl Chart {
    /// As options of a flow that only looks.
    pub(super) fn options(self) -> Options {
        Options {
            set: self.set,
            values: Vec::new(),
            images: self.images,
            image: self.image.into_iter().collect::<BTreeMap<_, _>>(),
            only: self.only,
            dev: self.dev,
            yes: false,
            rollback: false,
            timeout: Duration::ZERO,
            schedule_grace: Duration::ZERO,
        }
    }
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let options = Options {
        yes: arguments.yes,
        rollback: arguments.rollback,
        timeout: Duration::from_secs(arguments.wait_timeout),
        schedule_grace: Duration::from_secs(arguments.schedule_grace),
        ..arguments.chart.options()
    };
    up::up(base, &options, format).await
}
