//! A command that runs in the containers of a service, as one who is logged in there would run it.

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::TryStreamExt as _;

use super::{Machines, MachinesError};

impl Machines {
    /// Runs a command to its end in every running container of a service, one after the other.
    ///
    /// # Errors
    /// When no container of the service runs; when the command ends badly, with what it said; when the Engine refuses
    /// or does not answer.
    pub async fn run(&self, service: &str, command: &[String]) -> Result<(), MachinesError> {
        let failed = self.engine.failed(&format!("looking for {service}"));
        let options = ListContainersOptionsBuilder::default().filters(&self.members(service)).build();
        let listed = self.engine.docker().list_containers(Some(options)).await.map_err(failed)?;
        let ids: Vec<String> = listed.into_iter().filter_map(|container| container.id).collect();
        if ids.is_empty() {
            return Err(MachinesError::NoMachine { instance: service.to_owned(), there: Vec::new() });
        }
        for id in ids {
            self.run_in(&id, service, command).await?;
        }
        Ok(())
    }

    async fn run_in(&self, container: &str, service: &str, command: &[String]) -> Result<(), MachinesError> {
        let docker = self.engine.docker();
        let failed = self.engine.failed(&format!("running {} in {service}", command.join(" ")));
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(container, options).await.map_err(&failed)?.id;
        let mut said = Vec::new();
        if let StartExecResults::Attached { mut output, .. } =
            docker.start_exec(&exec, None::<StartExecOptions>).await.map_err(&failed)?
        {
            while let Some(chunk) = output.try_next().await.map_err(&failed)? {
                said.extend_from_slice(&chunk.into_bytes());
            }
        }
        let code = docker.inspect_exec(&exec).await.map_err(&failed)?.exit_code.unwrap_or(-1);
        if code == 0 {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        Err(MachinesError::Command { service: service.to_owned(), command: command.join(" "), code, said })
    }
}
