// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { UUPSUpgradeable } from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import { AccessToken } from "./AccessToken.sol";
import { PaymentProcessor } from "./PaymentProcessor.sol";
import { Receipts } from "./Receipts.sol";

/// The one deployed contract: the modules composed by inheritance behind one UUPS proxy, because a call from
/// proxy to proxy would cost a payment about 10,000 gas.
contract Octroi is PaymentProcessor, AccessToken, Receipts, UUPSUpgradeable {
    /// @notice What a new contract starts with.
    /// @param admin Holds DEFAULT_ADMIN_ROLE: settings and upgrades; hands over in two steps.
    /// @param signer Signs quotes.
    /// @param payee Is sent what is earned.
    /// @param operator Revokes, pauses, and sends what is earned to the payee.
    /// @param feeRecipient Is sent the fees.
    /// @param feeBps The fee in basis points.
    /// @param tokens The tokens to be paid in, in the order of their indices.
    /// @param adminDelay Seconds between the two steps of handing over the admin role.
    /// @param refunder Sends payments back; zero for nobody.
    /// @param receiptSigner Signs receipts; zero for none.
    struct Setup {
        address admin;
        address signer;
        address payee;
        address operator;
        address feeRecipient;
        uint16 feeBps;
        address[] tokens;
        uint48 adminDelay;
        address refunder;
        address receiptSigner;
    }

    /// @notice Only a proxy is ever initialised.
    constructor() {
        _disableInitializers();
    }

    /// @notice Sets a new proxy up, once.
    /// @dev The admin starts as treasurer and pauser too, and may give these away.
    /// @param setup What it starts with.
    function initialize(Setup calldata setup) external initializer {
        __Core_init(setup.admin, setup.adminDelay, setup.signer);
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
        _grantRole(TREASURER_ROLE, setup.operator);
        if (setup.refunder != address(0)) _grantRole(REFUNDER_ROLE, setup.refunder);
        if (setup.receiptSigner != address(0)) _setReceiptSigner(setup.receiptSigner);
    }

    function _authorizeUpgrade(address) internal view override onlyRole(DEFAULT_ADMIN_ROLE) { }
}
