//! `oscar-bin devices`: what can compute on this machine.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::backend;
use crate::ending::Ending;

/// Lists the backends that this program was built with and the devices that each finds. The number
/// is the one that --devices takes.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print them as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Lists them.
pub fn run(args: &DevicesArgs) -> Result<Ending> {
    let backends = backend::compiled();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json!({ "backends": backends }))?;
        return Ok(Ending::Done);
    }
    writeln!(out, "backend  number  precision  device")?;
    for backend in backends {
        for device in &backend.devices {
            writeln!(
                out,
                "{:<8} {:<7} {:<10} {}",
                backend.name,
                device.number,
                device.precisions.join(" "),
                device.name
            )?;
        }
        if let Some(missing) = &backend.missing {
            writeln!(out, "{:<8} none: {missing}", backend.name)?;
        }
    }
    Ok(Ending::Done)
}
