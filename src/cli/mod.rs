//! The command line: one file a verb.

mod completions;
mod config;
mod down;
mod exec;
mod init;
mod list;
mod logs;
mod parity;
mod plan;
mod receipt;
mod render;
mod schema;
mod shell_init;
mod status;
mod up;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use envctl_model::record::Record;

use crate::config::{Base, Flags};
use crate::flows::Store;
use crate::ui::{Failure, Format, colour_on_stderr, print};

/// A whole staging environment from one Helm chart; removed with proof.
#[derive(Debug, Parser)]
#[command(name = "envctl", version, max_term_width = 100, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 refused by a guard, 4 a gate failed, \
5 something is left, 130 interrupted.";

/// Flags of every verb.
#[derive(Debug, Args)]
struct Global {
    /// The environment [default: ENVCTL_ENV, else PROJECT-USER]
    #[arg(long, short, global = true)]
    name: Option<String>,
    /// The target [default: the stack file's]
    #[arg(long, short, global = true)]
    target: Option<String>,
    /// The stack file [default: envctl.yaml here or above]
    #[arg(long, global = true, value_name = "FILE")]
    stack: Option<PathBuf>,
    /// The cluster, by its ARN, where no stack file names it
    #[arg(long, global = true, value_name = "ARN")]
    cluster: Option<String>,
    /// The AWS profile to sign in with [default: the target's]
    #[arg(long, global = true)]
    profile: Option<String>,
    /// JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring the environment up, or bring it up to date
    Up(up::Arguments),
    /// Remove the environment and prove that nothing is left
    Down(down::Arguments),
    /// Write files: the platform's part of a shared cluster, a cluster's UID
    Init(init::Arguments),
    /// Show what `up` would do
    Plan(plan::Arguments),
    /// List environments
    List,
    /// Show an environment's pods and where it answers
    Status,
    /// Show logs of components
    Logs(logs::Arguments),
    /// Run a command in a component's container
    Exec(exec::Arguments),
    /// Show the Compose file, or the Kubernetes objects it comes from
    Render(render::Arguments),
    /// Show what differs from a cluster
    Parity(parity::Arguments),
    /// Show what the last `down` proved
    Receipt,
    /// Show as whom and where envctl would act in a cluster, and why
    Whoami,
    /// Show the settings
    Config(config::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
    /// Print the function `env` for a shell: eval "$(envctl shell-init bash)"
    ShellInit(shell_init::Arguments),
    /// Print a JSON Schema: of the stack file, or of what `--json` prints
    Schema(schema::Arguments),
    /// The credential plugin of the kubeconfig that helm gets
    #[command(name = envctl_cluster::release::PLUGIN_VERB, hide = true)]
    ClusterToken {
        /// The file with credentials and cluster
        ticket: PathBuf,
    },
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let Cli { global, verb } = Cli::parse();
    match run(&global, verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text(colour_on_stderr()) {
                #[allow(clippy::print_stderr, reason = "the one place where errors are printed")]
                {
                    eprintln!("{text}");
                }
            }
            failure.exit_code()
        }
    }
}

fn run(global: &Global, verb: Verb) -> Result<(), Failure> {
    // These need neither settings nor a stack.
    match &verb {
        Verb::Completions(arguments) => return completions::run(arguments),
        Verb::ShellInit(arguments) => return shell_init::run(arguments),
        Verb::Schema(arguments) => return schema::run(arguments),
        Verb::ClusterToken { ticket } => {
            print(&envctl_cluster::release::plugin_answer(ticket).map_err(Failure::failed)?);
            return Ok(());
        }
        _ => {}
    }
    let ttl = if let Verb::Up(up) = &verb { up.ttl.clone() } else { None };
    let base = Base::load(Flags {
        name: global.name.clone(),
        target: global.target.clone(),
        ttl,
        stack: global.stack.clone(),
        cluster: global.cluster.clone(),
        profile: global.profile.clone(),
    })?;
    let format = global.format();
    match verb {
        Verb::Up(arguments) => runtime()?.block_on(up::run(&base, arguments, format)),
        Verb::Down(arguments) => runtime()?.block_on(down::run(&base, arguments, format)),
        Verb::Init(arguments) => runtime()?.block_on(init::run(&base, arguments)),
        Verb::Plan(arguments) => runtime()?.block_on(plan::run(&base, arguments, format)),
        Verb::List => runtime()?.block_on(list::run(&base, format)),
        Verb::Status => runtime()?.block_on(status::run(&base, format)),
        Verb::Logs(arguments) => runtime()?.block_on(logs::run(&base, arguments, format)),
        Verb::Exec(arguments) => runtime()?.block_on(exec::run(&base, arguments)),
        Verb::Render(arguments) => runtime()?.block_on(render::run(&base, arguments)),
        Verb::Parity(arguments) => runtime()?.block_on(parity::run(&base, arguments, format)),
        Verb::Receipt => receipt::run(&base, format),
        Verb::Whoami => runtime()?.block_on(whoami::run(&base, format)),
        Verb::Config(arguments) => config::run(&base, arguments, format),
        Verb::Completions(_) | Verb::ShellInit(_) | Verb::Schema(_) | Verb::ClusterToken { .. } => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::failed)
}

/// The names of all verbs, for the shell function.
fn verbs() -> Vec<String> {
    Cli::command().get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect()
}

/// The record of the environment that a verb is about. The stack file is needed only where no name
/// is given.
fn subject(base: &Base) -> Result<Record, Failure> {
    let name = match base.explicit_name()? {
        Some(name) => name.value,
        None => base.settings(&base.stack()?)?.name.value,
    };
    let store = Store::new(base.state_dir.value.clone());
    if let Some(record) = store.home(&name).record()? {
        return Ok(record);
    }
    let names: Vec<_> = store.records()?.into_iter().map(|(name, _)| name).collect();
    let known = if names.is_empty() {
        "there are none; `envctl up` makes one".to_owned()
    } else {
        format!("environments: {}", names.join(", "))
    };
    Err(Failure::Usage(format!("there is no environment `{name}`\n  {known}")))
}
