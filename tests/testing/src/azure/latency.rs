//! The modelled latencies of operations, in seconds.
//!
//! They are orders of magnitude that users of Azure report, not measurements. A test may override them.

/// Seconds by operation. Other operations take none.
const TABLE: &[(&str, f64)] = &[
    ("DELETE Microsoft.Resources/resourceGroups", 60.0),
    ("PUT Microsoft.Network/networkSecurityGroups", 4.0),
    ("DELETE Microsoft.Network/networkSecurityGroups", 11.0),
    ("PUT Microsoft.Network/virtualNetworks", 4.0),
    ("DELETE Microsoft.Network/virtualNetworks", 11.0),
    ("PUT Microsoft.Network/virtualNetworks/subnets", 4.0),
    ("DELETE Microsoft.Network/virtualNetworks/subnets", 11.0),
    ("PUT Microsoft.Network/publicIPAddresses", 3.0),
    ("DELETE Microsoft.Network/publicIPAddresses", 11.0),
    ("PUT Microsoft.Network/networkInterfaces", 2.0),
    ("DELETE Microsoft.Network/networkInterfaces", 6.0),
    ("PUT Microsoft.Network/natGateways", 12.0),
    ("DELETE Microsoft.Network/natGateways", 12.0),
    ("PUT Microsoft.Compute/virtualMachines", 25.0),
    ("PATCH Microsoft.Compute/virtualMachines", 5.0),
    ("DELETE Microsoft.Compute/virtualMachines", 40.0),
    ("POST Microsoft.Compute/virtualMachines/deallocate", 46.0),
    ("POST Microsoft.Compute/virtualMachines/powerOff", 30.0),
    ("POST Microsoft.Compute/virtualMachines/start", 20.0),
    ("DELETE Microsoft.Compute/disks", 3.0),
    ("PUT Microsoft.Compute/snapshots", 10.0),
    ("DELETE Microsoft.Compute/snapshots", 3.0),
    ("PUT Microsoft.Compute/images", 30.0),
    ("PATCH Microsoft.Compute/images", 2.0),
    ("DELETE Microsoft.Compute/images", 10.0),
    ("PUT Microsoft.Compute/galleries", 10.0),
    ("DELETE Microsoft.Compute/galleries", 10.0),
    ("PUT Microsoft.Compute/galleries/images", 5.0),
    ("DELETE Microsoft.Compute/galleries/images", 10.0),
    ("PUT Microsoft.Compute/galleries/images/versions", 300.0),
    ("PATCH Microsoft.Compute/galleries/images/versions", 30.0),
    ("DELETE Microsoft.Compute/galleries/images/versions", 60.0),
    ("PUT Microsoft.Compute/virtualMachineScaleSets", 60.0),
    ("PATCH Microsoft.Compute/virtualMachineScaleSets", 15.0),
    ("DELETE Microsoft.Compute/virtualMachineScaleSets", 60.0),
    (
        "POST Microsoft.Compute/virtualMachineScaleSets/manualupgrade",
        90.0,
    ),
    (
        "POST Microsoft.Compute/virtualMachineScaleSets/reimage",
        90.0,
    ),
    (
        "POST Microsoft.Compute/virtualMachineScaleSets/delete",
        45.0,
    ),
    (
        "DELETE Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        45.0,
    ),
    (
        "PUT Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        5.0,
    ),
    (
        "POST Microsoft.Compute/virtualMachineScaleSets/virtualMachines/reimage",
        90.0,
    ),
];

/// Returns the latency of an operation in seconds.
pub fn of(operation: &str) -> f64 {
    TABLE
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(operation))
        .map_or(0.0, |(_, seconds)| *seconds)
}
