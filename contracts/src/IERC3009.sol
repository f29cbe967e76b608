// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The one function of EIP-3009 that a payment needs, in the form that every such token has.
interface IERC3009 {
    /// @notice Moves money by an authorization that its owner signed; only its receiver may submit it.
    /// @param from Who pays and has signed.
    /// @param to Who receives, the caller.
    /// @param value How much.
    /// @param validAfter The authorization is good after this time only, Unix seconds.
    /// @param validBefore It is good before this time only, Unix seconds.
    /// @param nonce Names the authorization among the payer's; each is used once.
    /// @param v Of the payer's signature.
    /// @param r Of the payer's signature.
    /// @param s Of the payer's signature.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
}
