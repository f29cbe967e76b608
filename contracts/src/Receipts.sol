// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { SubscriptionManager } from "./SubscriptionManager.sol";
import { Terms } from "./Terms.sol";

/// Receipts checked against the chain: who signs them stands here, so that anyone can tell a true receipt
/// from a false one, and one whose grant still stands from one that was refunded, replaced or revoked.
abstract contract Receipts is SubscriptionManager {
    /// @notice What the operator states about a confirmed payment.
    /// @param paymentId Digest of the quote that was paid.
    /// @param subscriber Who paid and holds the grant.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token paid in.
    /// @param terms The quote's terms.
    /// @param amount What was paid, in the token's smallest units.
    /// @param txHash Transaction of the payment.
    /// @param blockNumber Its block.
    /// @param confirmedAt When it was confirmed, Unix seconds.
    struct Receipt {
        bytes32 paymentId;
        address subscriber;
        bytes32 serviceId;
        address token;
        uint256 terms;
        uint256 amount;
        bytes32 txHash;
        uint256 blockNumber;
        uint256 confirmedAt;
    }

    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 paymentId,address subscriber,bytes32 serviceId,address token,uint256 terms,uint256 amount,bytes32 txHash,uint256 blockNumber,uint256 confirmedAt)"
    );

    /// @custom:storage-location erc7201:octroi.receipts
    struct ReceiptStorage {
        address signer;
    }

    // keccak256(abi.encode(uint256(keccak256("octroi.receipts")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant RECEIPT_STORAGE =
        0x449f1fd26cb12cffc86669820b9db489e5b8af4953d30599d81da85fd7917000;

    /// @notice Receipts are signed by another key from now on.
    /// @param signer The new signer; zero: receipts cannot be checked here.
    /// @param previous The signer before.
    event ReceiptSignerChanged(address indexed signer, address indexed previous);

    /// @notice Names the key that signs receipts; those of the key before are no longer valid here.
    /// @param signer_ The signer, or zero for none.
    function setReceiptSigner(address signer_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setReceiptSigner(signer_);
    }

    /// @notice The key that signs receipts.
    /// @return The signer, zero if there is none.
    function receiptSigner() external view returns (address) {
        return _receipts().signer;
    }

    /// @notice Checks a receipt.
    /// @param receipt The receipt.
    /// @param signature Of its digest: r, s, v in 65 bytes, or EIP-2098 in 64.
    /// @return valid Whether the receipt signer signed it and its payment id is that of the quote it names.
    /// @return current Whether, besides, the slot still holds exactly these terms and is not revoked.
    function verifyReceipt(Receipt calldata receipt, bytes calldata signature)
        external
        view
        returns (bool valid, bool current)
    {
        valid = receipt.paymentId
                == quoteDigest(receipt.subscriber, receipt.serviceId, receipt.token, receipt.terms)
            && _signedReceipt(receiptDigest(receipt), signature);
        Terms slot = _slot(receipt.subscriber, receipt.serviceId);
        current = valid && Terms.unwrap(slot) == receipt.terms && !slot.revoked();
    }

    /// @notice The EIP-712 digest that a receipt's signature is of.
    /// @param receipt The receipt.
    /// @return The digest, in this contract's domain.
    function receiptDigest(Receipt calldata receipt) public view returns (bytes32) {
        return _typedDigest(keccak256(abi.encode(RECEIPT_TYPEHASH, receipt)));
    }

    function _setReceiptSigner(address signer_) internal {
        ReceiptStorage storage $ = _receipts();
        emit ReceiptSignerChanged(signer_, $.signer);
        $.signer = signer_;
    }

    function _signedReceipt(bytes32 digest, bytes calldata signature) private view returns (bool) {
        address recovered;
        if (signature.length == 64) {
            (recovered,,) = ECDSA.tryRecover(digest, bytes32(signature[:32]), bytes32(signature[32:]));
        } else {
            (recovered,,) = ECDSA.tryRecover(digest, signature);
        }
        // What cannot be recovered is zero, and so is a signer that was never named.
        return recovered != address(0) && recovered == _receipts().signer;
    }

    function _receipts() private pure returns (ReceiptStorage storage $) {
        assembly {
            $.slot := RECEIPT_STORAGE
        }
    }
}
