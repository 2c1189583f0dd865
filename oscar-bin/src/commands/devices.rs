//! `oscar-bin devices`: the devices of this machine.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::backend::{self, Device};
use crate::ending::Ending;
use crate::output::{self, UNKNOWN, cells, print_json, print_table};

/// Lists the backends that this program was built with and the devices that each of them finds, by
/// the number that --devices takes.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print the list as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Lists them.
///
/// # Errors
/// If the list cannot be printed.
pub fn run(args: &DevicesArgs) -> Result<Ending> {
    let backends = backend::compiled();
    if args.json {
        print_json(&json!({ "backends": backends }))?;
        return Ok(Ending::Done);
    }
    let mut rows = vec![cells("backend number precision device")];
    for backend in backends {
        let device = |device: Device| {
            let number = device.number.to_string();
            let precisions = device.precisions.join(" ");
            vec![backend.name.into(), number, precisions, device.name]
        };
        rows.extend(backend.devices.into_iter().map(device));
        if let Some(missing) = backend.missing {
            let none = [backend.name, UNKNOWN, UNKNOWN].map(String::from);
            rows.push(
                none.into_iter()
                    .chain([format!("none: {missing}")])
                    .collect(),
            );
        }
    }
    print_table(&mut output::stdout(), &rows)?;
    Ok(Ending::Done)
}
