// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { SubscriptionManager } from "./SubscriptionManager.sol";
import { Terms } from "./Terms.sol";

/// Access checked against the chain alone: a subscriber's signed statement, verified with the grant that it
/// rests on, gives the limits that were bought. Views only; a gate that trusts no token issuer asks here.
abstract contract AccessToken is SubscriptionManager {
    /// @notice What a grant allows; a limit of 0 is none.
    /// @param start When it began, Unix seconds.
    /// @param expiry First second after it, Unix seconds.
    /// @param plan The plan bought.
    /// @param rate Requests a second.
    /// @param bandwidth KiB a second.
    /// @param quota Requests a period.
    /// @param seq Sequence number of its payment.
    struct Qos {
        uint32 start;
        uint32 expiry;
        uint16 plan;
        uint16 rate;
        uint16 bandwidth;
        uint32 quota;
        uint16 seq;
    }

    /// @notice How far ahead a proof may be valid.
    uint256 public constant MAX_PROOF_LIFETIME = 1 days;

    bytes32 private constant ACCESS_TYPEHASH =
        keccak256("Access(address subscriber,bytes32 serviceId,uint256 notAfter,bytes32 challenge)");

    /// @notice There is no grant that is running and not revoked.
    error NoAccess();
    /// @notice The proof is no longer valid.
    error ProofExpired();
    /// @notice The proof is valid for longer than MAX_PROOF_LIFETIME.
    error ProofTooLong();
    /// @notice The proof is not signed by the subscriber.
    error BadProof();

    /// @notice Limits of a grant that is running now; reverts where there is none.
    /// @param subscriber Whose grant.
    /// @param serviceId keccak256 of the service's name.
    /// @return The limits.
    function accessOf(address subscriber, bytes32 serviceId) public view returns (Qos memory) {
        Terms slot = _slot(subscriber, serviceId);
        bool running = slot.start() <= block.timestamp && block.timestamp < slot.expiry();
        if (!running || slot.revoked()) revert NoAccess();
        return Qos({
            start: slot.start(),
            expiry: slot.expiry(),
            plan: slot.plan(),
            rate: slot.rate(),
            bandwidth: slot.bandwidth(),
            quota: slot.quota(),
            seq: slot.seq()
        });
    }

    /// @notice Checks a subscriber's signed statement and gives the limits it has bought; reverts if it is bad.
    /// @dev `challenge` is what the verifier asked the subscriber to sign, so that a proof serves nobody else;
    /// whether it was used before is the verifier's to remember. Wallets that are contracts sign by ERC-1271.
    /// @param subscriber Who signed.
    /// @param serviceId keccak256 of the service's name.
    /// @param notAfter Last second in which the proof is valid, Unix seconds.
    /// @param challenge The verifier's.
    /// @param signature Of accessDigest.
    /// @return The limits.
    function verifyAccess(
        address subscriber,
        bytes32 serviceId,
        uint256 notAfter,
        bytes32 challenge,
        bytes calldata signature
    ) external view returns (Qos memory) {
        if (block.timestamp > notAfter) revert ProofExpired();
        if (notAfter > block.timestamp + MAX_PROOF_LIFETIME) revert ProofTooLong();
        bytes32 digest = accessDigest(subscriber, serviceId, notAfter, challenge);
        if (!SignatureChecker.isValidSignatureNowCalldata(subscriber, digest, signature)) revert BadProof();
        return accessOf(subscriber, serviceId);
    }

    /// @notice The EIP-712 digest that a proof's signature is of.
    /// @param subscriber Who signs.
    /// @param serviceId keccak256 of the service's name.
    /// @param notAfter Last second in which the proof is valid, Unix seconds.
    /// @param challenge The verifier's.
    /// @return The digest, in this contract's domain.
    function accessDigest(address subscriber, bytes32 serviceId, uint256 notAfter, bytes32 challenge)
        public
        view
        returns (bytes32)
    {
        return _typedDigest(
            keccak256(abi.encode(ACCESS_TYPEHASH, subscriber, serviceId, notAfter, challenge))
        );
    }
}
