//! Ways of running a queue and writing down what happened.

pub mod child;
pub mod sequential;
