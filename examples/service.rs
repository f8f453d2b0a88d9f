//! A struct in a manager's server whose methods other processes call.
//!
//! ```text
//! cargo run --example service
//! ```

use std::collections::BTreeMap;

use shmkit::{Error, Manager, Process, Result};

shmkit::service! {
    /// Accounts by name.
    trait Bank as BankProxy {
        /// Adds to an account, and says what it has now.
        fn deposit(&mut self, account: String, amount: u64) -> Result<u64>;
        /// What all accounts have.
        fn total(&self) -> u64;
    }
}

struct Accounts {
    limit: u64,
    by_name: BTreeMap<String, u64>,
}

impl Accounts {
    fn new(limit: u64) -> Self {
        Self { limit, by_name: BTreeMap::new() }
    }
}

impl Bank for Accounts {
    fn deposit(&mut self, account: String, amount: u64) -> Result<u64> {
        let balance = self.by_name.entry(account).or_default();
        if amount > self.limit - *balance {
            return Err(Error::Failed { message: format!("there is no more than {}", self.limit) });
        }
        *balance += amount;
        Ok(*balance)
    }

    fn total(&self) -> u64 {
        self.by_name.values().sum()
    }
}

fn work(bank: BankProxy) -> Result<()> {
    bank.deposit("ann".into(), 30)?;
    println!("ann has {}", bank.deposit("ann".into(), 12)?);
    if let Err(error) = bank.deposit("bob".into(), 101) {
        println!("bob: {error}");
    }
    Ok(())
}

fn main() -> Result<()> {
    shmkit::init();
    let manager = Manager::start()?;
    let bank: BankProxy = manager.register("bank", Accounts::new, (100,))?;
    Process::spawn(work, (bank,))?.join()?;
    // Whoever has the manager finds it by its name.
    println!("all have {}", manager.service::<BankProxy>("bank")?.total()?);
    Ok(())
}
