//! `envctl shell-init SHELL`: the function `env`, which is ours for our verbs and the real `env` for
//! everything else.

use clap::ValueEnum;

use crate::ui::Failure;

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let verbs = super::verbs();
    // A program that happens to be called like a verb is still reached by `command env`.
    crate::ui::print(&match arguments.shell {
        Shell::Bash | Shell::Zsh => format!(
            "env() {{\n  case \"${{1-}}\" in\n    {})\n      command envctl \"$@\" ;;\n    *)\n      command env \"$@\" ;;\n  esac\n}}",
            verbs.join("|")
        ),
        Shell::Fish => format!(
            "function env --description 'envctl for its verbs, env for everything else'\n    if contains -- \"$argv[1]\" {}\n        command envctl $argv\n    else\n        command env $argv\n    end\nend",
            verbs.join(" ")
        ),
    });
    Ok(())
}
