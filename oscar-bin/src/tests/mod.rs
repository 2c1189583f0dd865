//! Tests that need the insides of the program.

mod docs;
mod fuzz;
