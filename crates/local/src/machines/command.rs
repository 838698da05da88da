//! A command that runs in the containers of a service, as one who is logged in there would run it.

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::{Machines, MachinesError};
use crate::exec;

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
        let doing = format!("running {} in {service}", command.join(" "));
        let (code, said) = exec::run(&self.engine, container, command, &doing).await?;
        if code == 0 {
            return Ok(());
        }
        Err(MachinesError::Command { service: service.to_owned(), command: command.join(" "), code, said })
    }
}
