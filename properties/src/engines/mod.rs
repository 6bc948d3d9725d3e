//! Ways of running a queue and writing down what happened.

pub mod budget;
pub mod child;
pub mod explore;
pub mod sequential;
#[cfg(test)]
pub(crate) mod testing;
