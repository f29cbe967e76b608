// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { UUPSUpgradeable } from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import { AccessToken } from "./AccessToken.sol";
import { PaymentProcessor } from "./PaymentProcessor.sol";

/// The one deployed contract: the modules composed by inheritance behind one UUPS proxy, because a call from
/// proxy to proxy would cost a payment about 10,000 gas.
contract Octroi is PaymentProcessor, AccessToken, UUPSUpgradeable {
    struct Setup {
        address admin;
        address signer;
        address payee;
        address operator;
        address feeRecipient;
        uint16 feeBps;
        address[] tokens;
    }

    constructor() {
        _disableInitializers();
    }

    /// The admin starts as treasurer and pauser too, and may give these away; the operator revokes and pauses.
    function initialize(Setup calldata setup) external initializer {
        __Core_init(setup.admin, setup.signer);
        __PaymentProcessor_init(setup.payee, setup.feeBps, setup.feeRecipient);
        for (uint256 i = 0; i < setup.tokens.length; i++) {
            _addToken(setup.tokens[i]);
        }
        _notZero(setup.operator);
        _grantRole(OPERATOR_ROLE, setup.operator);
        _grantRole(PAUSER_ROLE, setup.operator);
        _grantRole(PAUSER_ROLE, setup.admin);
        _grantRole(TREASURER_ROLE, setup.admin);
        _grantRole(TREASURER_ROLE, setup.payee);
    }

    function _authorizeUpgrade(address) internal view override onlyRole(DEFAULT_ADMIN_ROLE) { }
}
