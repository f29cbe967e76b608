// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ERC1967Proxy } from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// The address that wallets and services know; its code is OpenZeppelin's, named here to be built with ours.
contract OctroiProxy is ERC1967Proxy {
    /// @notice Sets the proxy up and initialises it in the same transaction.
    /// @param implementation The code.
    /// @param data The initialising call.
    constructor(address implementation, bytes memory data) ERC1967Proxy(implementation, data) { }
}
